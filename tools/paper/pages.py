"""What a target writes: its numbers as JSON, a page with tables and conditions, a picture."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tim_plugin.utils.writing import write_atomically, write_json

MUST_AGREE = (  # conditions that are one for all tasks of a page
    "data_set",
    "output_px",
    "samples_of_each_input",
    "sampling_seed",
    "distance",
    "features_of_sets",
    "faithfulness_weighted_variance",
)
Stale = Callable[[str, Any, Mapping[str, Any]], bool]


def folder_of(root: Path, preset: str) -> Path:
    """Return where a preset's targets are written, made if it is not there."""
    folder = root / "docs" / "results" / preset
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table."""
    return [f"| {' | '.join(line)} |" for line in (header, ["---"] * len(header), *rows)]


def write_target(folder: Path, target: str, content: Mapping[str, Any], page: Sequence[str]) -> None:
    """Write ``TARGET.json`` and ``TARGET.md``; the page ends with ``content['conditions']``.

    Args:
        folder: Of the preset.
        target: Its name.
        content: All numbers, and the conditions, which may differ from task to task.
        page: Lines above the conditions.
    """
    conditions = content["conditions"]
    if "tasks" in content:
        lines = [line for task, one in conditions.items() for line in ("", f"{task}:", "", *_listed(one))]
    else:
        lines = ["", *_listed(conditions)]
    write_json(folder / f"{target}.json", content)
    write_atomically(folder / f"{target}.md", ("\n".join([*page, *lines]) + "\n").encode())


def _listed(conditions: Mapping[str, Any]) -> list[str]:
    return [f"- {key.replace('_', ' ')}: {value}" for key, value in conditions.items()]


def with_other_tasks(
    folder: Path, target: str, content: Mapping[str, Any], known: Sequence[str], stale: Stale
) -> dict[str, dict[str, Any]]:
    """Add the tasks that ``TARGET.json`` holds already and that were not measured now, each with its own conditions.

    A task that was measured under other conditions, or of runs that would not be made with today's options and data,
    is left out, and a line on stderr says so.

    Args:
        folder: Of the preset.
        target: Its name.
        content: ``tasks`` and ``conditions``, both by task, of what was measured now.
        known: All tasks of the target, in the order of the page.
        stale: Maps a task, what the page has of it, and its conditions to whether it is of other runs than today's.
    """
    path = folder / f"{target}.json"
    before = json.loads(path.read_text()) if path.is_file() else {"tasks": {}, "conditions": {}}
    tasks, conditions = dict(content["tasks"]), dict(content["conditions"])
    now = next(iter(conditions.values()))
    for task, kept in before["tasks"].items():
        if task in tasks:
            continue
        theirs = before["conditions"][task]
        why = _other_conditions(theirs, now)
        if not why and (task not in known or stale(task, kept, theirs)):
            why = "is of runs with other options or data than now"
        if why:
            print(f"{path}: {task} {why} and is left out; --tasks {task} measures it again", file=sys.stderr)
        else:
            tasks[task], conditions[task] = kept, theirs
    order = [task for task in known if task in tasks]
    return {"tasks": {task: tasks[task] for task in order}, "conditions": {task: conditions[task] for task in order}}


def _other_conditions(theirs: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Say which of the conditions that must be one for all tasks differs; nothing if none does."""
    other = [key for key in MUST_AGREE if key in now and theirs.get(key) != now[key]]
    return f"was measured with another {other[0].replace('_', ' ')}" if other else ""


def spread(values: Sequence[float], form: str = ".3f") -> str:
    """Return mean and, of several, sample standard deviation, as text; ``-`` for none.

    Args:
        values: Of one figure.
        form: Of each number, as Python's format specification.
    """
    if not values:
        return "-"
    mean = f"{np.mean(values):{form}}"
    return mean if len(values) == 1 else f"{mean} +- {np.std(values, ddof=1):{form}}"


def consistencies(figures: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the task's own measures of how well samples agree with the input: those that have a worst case."""
    return [one for one in figures.values() if isinstance(one, dict) and "worst" in one]


def consistency_cell(figures: Mapping[str, Any]) -> str:
    """Return mean and worst of each of :func:`consistencies`, as text; ``-`` for none."""
    return consistency_of_seeds([figures])


def consistency_of_seeds(seeds: Sequence[Mapping[str, Any]]) -> str:
    """Return :func:`consistency_cell` of several seeds: the mean as :func:`spread` has it, the worst of all."""
    cells = []
    for of_seeds in zip(*map(consistencies, seeds), strict=True):
        worst = max if of_seeds[0]["worst"] > of_seeds[0]["mean"] else min  # of errors, and of agreements
        means, unit = spread([one["mean"] for one in of_seeds], ".2f"), of_seeds[0]["unit"]
        cells.append(f"{means}, {worst(one['worst'] for one in of_seeds):.2f} {unit}")
    return "; ".join(cells) or "-"
