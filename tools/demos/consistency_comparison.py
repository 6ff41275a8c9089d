"""What consistency does: off, on at the end only, and trained through."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from demos.demo_runs import Demo, measure, train
from tim_plugin.utils.writing import write_json


def compare_consistency(
    name: str, demo: Demo, root: Path, overrides: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Train a demo without and with ``consistency: project`` and measure off, on at the end only, and trained through.

    The table is printed and written to ``results/demo_NAME/consistency.json``.

    Args:
        name: Of the demo, for files.
        demo: The demo.
        root: The project's folder.
        overrides: Options that replace those of the demo's file.

    Returns:
        The measures of each of the three, by name.

    Raises:
        TimError: The demo's task has no projection.
    """
    changes = {
        value: {"name": f"compare_{name}_{value}", "network_g:consistency": value, **(overrides or {})}
        for value in ("project", "off")  # where nothing can be projected, this is said first
    }
    runs = {value: train(demo, root, options) for value, options in changes.items()}
    ways = {"off": ("off", "off"), "at the end only": ("off", "project"), "trained through": ("project", "project")}
    table = {
        way: {**runs[run].measures, **measure(demo, runs[run], consistency)} for way, (run, consistency) in ways.items()
    }
    file = root / "results" / f"demo_{name}" / "consistency.json"
    write_json(file, table)
    print(f"{_table(name, demo, table)}\nwritten: {file}", flush=True)
    return table


def _table(name: str, demo: Demo, table: Mapping[str, Mapping[str, Any]]) -> str:
    lines = [
        f"| {name}: consistency | mean distance | best of {demo.num_samples} | diversity | consistency, mean (worst) |"
    ]
    lines.append("|---|---|---|---|---|")
    for way, row in table.items():
        best = row[f"best_of_{demo.num_samples}_distance"]
        lines.append(
            f"| {way} | {row['mean_distance']:.4f} | {best:.4f} | {row['diversity']:.4f} | {consistency_text(row)} |"
        )
    return "\n".join(lines)


def consistency_text(row: Mapping[str, Any]) -> str:
    """Return ``NAME mean (worst), ...`` of a row's measures of consistency with the input, if it has any."""
    parts = [f"{key} {one['mean']:.4g} ({one['worst']:.4g})" for key, one in row["agreement"].items()]
    return ", ".join(parts) or "the input gives nothing to compare with"
