"""What a target writes: its numbers as JSON, a page with tables and conditions, a picture."""

from __future__ import annotations

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
        content: All numbers, and the conditions.
        page: Lines above the conditions.
    """
    conditions = [f"- {key.replace('_', ' ')}: {value}" for key, value in content["conditions"].items()]
    write_json(folder / f"{target}.json", content)
    write_atomically(folder / f"{target}.md", ("\n".join([*page, "", *conditions]) + "\n").encode())


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Return mean and, of several, sample standard deviation, as text; ``-`` for none."""
    if not values:
        return "-"
    mean = f"{np.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} +- {np.std(values, ddof=1):.{digits}f}"
