"""What a target writes: its numbers as JSON, a page with tables and conditions, a picture."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tim_plugin.images import write_atomically, write_json


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
    folder: Path, target: str, content: Mapping[str, Any], known: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Add the tasks that ``TARGET.json`` holds already and that were not measured now, each with its own conditions.

    Tasks that were measured by other features would stand in a table whose columns are not theirs: they are left out,
    and a line on stderr says so.

    Args:
        folder: Of the preset.
        target: Its name.
        content: ``tasks`` and ``conditions``, both by task, of what was measured now.
        known: All tasks of the target, in the order of the page.
    """
    path = folder / f"{target}.json"
    before = json.loads(path.read_text()) if path.is_file() else {"tasks": {}, "conditions": {}}
    features = {one["features_of_sets"] for one in content["conditions"].values()}
    tasks, conditions = dict(content["tasks"]), dict(content["conditions"])
    for task in before["tasks"]:
        if task in tasks:
            continue
        if before["conditions"][task]["features_of_sets"] in features:
            tasks[task], conditions[task] = before["tasks"][task], before["conditions"][task]
        else:
            print(f"{path}: {task} was measured by other features and is left out now", file=sys.stderr)
    order = [task for task in known if task in tasks]
    return {"tasks": {task: tasks[task] for task in order}, "conditions": {task: conditions[task] for task in order}}


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Return mean and, of several, sample standard deviation, as text; ``-`` for none."""
    if not values:
        return "-"
    mean = f"{np.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} +- {np.std(values, ddof=1):.{digits}f}"
