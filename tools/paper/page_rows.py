"""Rows of tables 2 to 4 that a page has already: runs of another day, or of another machine, are added to them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from paper.equal_time import Times, equal_time, trained_for
from paper.systems import System
from paper.workbench import Workbench

Row = Mapping[str, Any]
NEEDED = {
    "sets",
    "floor",
    "cost",
}  # of a row that seeds of now can be added to; pages of before these figures have none
JOINED = ("commit", "hardware", "versions", "training_commit", "training_hardware")
JOINED += ("measuring_commit", "measuring_hardware", "training_time")


class PageRows(NamedTuple):
    """What a page has of a task, as far as it is of the runs that would be made now.

    Attributes:
        rows: By system: figures by seed (``seeds``), and ``training``.
        conditions: That stand beside them.
    """

    rows: Mapping[str, Row]
    conditions: Mapping[str, Any]

    def by_run(self) -> dict[str, Row]:
        """Return the figures of each run."""
        return {one["run"]: one for row in self.rows.values() for one in row["seeds"] if one["run"]}

    def seeds_of(self, system: str) -> Sequence[Row]:
        """Return a system's figures, one of each seed that the page has."""
        return self.rows[system]["seeds"] if system in self.rows else ()


NONE = PageRows({}, {})


def page_rows(bench: Workbench, folder: Path, target: str, task: str) -> PageRows:
    """Return what ``TARGET.json`` has of a task; nothing where TIM, whose time the others take, is of other options.

    Args:
        bench: Of today's options and data.
        folder: Of the preset's pages.
        target: ``table2`` to ``table4``.
        task: Of its tasks.
    """
    path = folder / f"{target}.json"
    page = json.loads(path.read_text()) if path.is_file() else {"tasks": {}}
    systems = {one.name: one for one in bench.preset.systems[task]}
    rows = {
        name: row
        for name, row in page["tasks"].get(task, {}).items()
        if name in systems
        and all(NEEDED <= one.keys() for one in row["seeds"])
        and is_of_now(bench, systems[name], row)
    }
    return PageRows(rows, page["conditions"][task]) if bench.preset.tim(task).name in rows else NONE


def is_of_now(bench: Workbench, system: System, row: Row) -> bool:
    """Return whether a row is of the runs that would be made with today's options and data."""
    return [one["run"] for one in row["seeds"]] == _runs(bench, system, row)


def _runs(bench: Workbench, system: System, row: Row) -> list[str | None]:
    if not system.trained:
        return [None]
    trained = trained_for(bench, system, row["training"]["iterations"])
    return [bench.run(trained, one["seed"]).name() for one in row["seeds"]]


def training_times(bench: Workbench, task: str, had: PageRows = NONE) -> Times:
    """Return for how long the systems of a task are trained: those that the page has as long as there, for more seeds.

    Args:
        bench: Preset, data, machine.
        task: Of the preset's.
        had: What the page has of it.
    """
    systems = {one.name: one for one in bench.preset.systems[task] if one.trained}
    known = {name: row["training"] for name, row in had.rows.items() if row["training"]}
    seconds = {name: one["seconds_an_iteration"] for name, one in known.items()}
    iterations = {name: one["iterations"] for name, one in known.items()}
    if known.keys() >= systems.keys():
        return Times(seconds, iterations, had.conditions["training_time"])
    now = equal_time(bench, f"table2_{task}", systems, fixed=not bench.preset.equal_time)
    return Times({**now.seconds, **seconds}, {**now.iterations, **iterations}, now.clock)


def joined(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """Return conditions where figures of now are added to those of before: commits, hardware and versions of both."""
    return {
        key: _both(before.get(key, ""), value) if key in JOINED else value for key, value in {**before, **now}.items()
    }


def _both(before: str, now: str) -> str:
    parts: Sequence[str] = [part for text in (before, now) for part in text.split("; ") if part]
    return "; ".join(dict.fromkeys(parts))
