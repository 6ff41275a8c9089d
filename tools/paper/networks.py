"""What the differences between our network, the authors' and the paper's text are worth: all trained as ours was."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from paper.ablation import measure_variants, stale_variants
from paper.pages import consistencies, folder_of, spread, table, with_other_tasks, write_target
from paper.row_figures import further_tables
from paper.sample_cost import ABOUT as COST_ABOUT
from paper.sample_cost import HEADER as COST
from paper.sample_cost import cost_cells
from paper.systems import EVERY_LEVEL, TEXT
from paper.workbench import Workbench

OURS, THEIRS = "TIM", "TIM, the authors' network"
CHANGES: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "sr16x": [
        (THEIRS, {"network_g:image_below": "signed"}),
        (TEXT, EVERY_LEVEL),
    ],
    "decompression": [(THEIRS, {"network_g:image_below": "none", "network_g:head_at": "trunk"})],
}
TASKS = tuple(CHANGES)
OURS_STANDS_IN = "table5"  # under this name:
FULL = "full"
ABOUT = f"""Widths, search, data and iterations are the same. In super-resolution the authors' network reads the image
of the level below in [-1, 1] and not in [0, 1]. In the paper's text and its figure 2 each level reads the input,
enlarged; in their public code, and in our {OURS}, only the first one does. In decompression their network does not read
the image of the level below at all, its heads stand before the convolutions that make the next level's features, and
these enlarge the features twice. The rows of {OURS} are those of [table 5]({OURS_STANDS_IN}.md); +- is the deviation
over training seeds, consistency the mean over samples of how near the degraded sample is to the input."""


def reproduce_networks(bench: Workbench, tasks: Sequence[str] = TASKS) -> dict[str, Any]:
    """Train and measure the other networks with every seed; write ``networks.{json,md}``.

    Args:
        bench: Preset, data, features, machine.
        tasks: Of :data:`TASKS`.

    Returns:
        What ``networks.json`` holds.

    Raises:
        TimError: The data or the features cannot be read.
    """
    folder = folder_of(bench.root, bench.preset.name)
    content: dict[str, Any] = {"tasks": {}, "conditions": {}}
    for task in tasks:
        measured, _ = measure_variants(bench, [task], CHANGES[task])
        content = {key: {**content[key], **measured[key]} for key in content}

    def stale(task: str, kept: Mapping[str, Any], conditions: Mapping[str, Any]) -> bool:
        return stale_variants(bench, CHANGES[task])(task, kept, conditions)

    content = with_other_tasks(folder, "networks", content, TASKS, stale)
    rows = {task: {**_ours(folder, task), **others} for task, others in content["tasks"].items()}
    write_target(folder, "networks", content, _page(rows, bench))
    return content


def _ours(folder: Path, task: str) -> dict[str, Any]:
    """Return our network's row, as the other page has it; nothing where that was not made."""
    path = folder / f"{OURS_STANDS_IN}.json"
    tasks = json.loads(path.read_text())["tasks"] if path.is_file() else {}
    return {OURS: tasks[task][FULL]} if task in tasks else {}


def _page(rows: Mapping[str, Mapping[str, Any]], bench: Workbench) -> list[str]:
    best, frechet = f"best_of_{bench.preset.num_samples}", bench.extractor.frechet
    header = ["network", frechet, "mean distance", best.replace("_", " "), "diversity", "recall"]
    header += ["consistency", "distance of the selected"]
    lines = ["# Our network, the authors' and the paper's text", "", ABOUT]
    for task, variants in rows.items():
        found = []
        for name, one in variants.items():
            seeds = one["equal_iterations"]
            values = (
                [seed[frechet] for seed in seeds],
                [seed["lpips"]["mean"] for seed in seeds],
                [seed["lpips"][best] for seed in seeds],
                [seed["lpips_diversity"] for seed in seeds],
                [seed["prc"]["recall"] for seed in seeds],
                [consistencies(seed)[0]["mean"] for seed in seeds],
                [seed["selected_distance"] for seed in seeds],
            )
            counts = [str(one["iterations"]), str(len(seeds)), *cost_cells(seeds[0])]
            found.append([name, *map(spread, values), *counts])
        lines += ["", f"## {task}", "", *table([*header, "iterations", "seeds", *COST], found)]
        lines += further_tables({name: one["equal_iterations"] for name, one in variants.items()})
    return [*lines, "", COST_ABOUT]
