"""Figures for people and for machines."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any


def table(figures: Mapping[str, Any], conditions: Mapping[str, Any]) -> str:
    """Return figures as two columns with the conditions below; curves are left to the JSON file.

    Args:
        figures: From :func:`tim_plugin.metrics.case_measures.score`.
        conditions: What they were measured on and with.
    """
    rows = list(_rows(figures))
    width = max((len(name) for name, _ in rows), default=0)
    lines = [f"{name:<{width}}  {value}" for name, value in rows]
    return "\n".join([*lines, "", *(f"{key}: {value}" for key, value in conditions.items() if value is not None)])


def without_infinities(content: Any) -> Any:
    """Return figures (mappings, lists, values) with None for numbers that are not finite: JSON has none of these."""
    if isinstance(content, Mapping):
        return {key: without_infinities(value) for key, value in content.items()}
    if isinstance(content, list):
        return [without_infinities(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def _rows(figures: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    unit = figures.get("unit")
    for key, value in figures.items():
        name = f"{before} {key}".strip()
        if isinstance(value, Mapping):
            yield from _rows(value, name)
        elif isinstance(value, float | int):
            yield name, f"{value:.6g}" + (f" {unit}" if unit and key in ("mean", "worst") else "")
