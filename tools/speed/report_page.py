"""A page from the JSON files of benchmarks: a table a file, what explains it, and what it was measured on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from paper.pages import table
from speed.step_memory import Footprint
from speed.timing import described
from tim_plugin.utils.errors import TimError

HEADER = ("benchmark", "plain", "ours", "ratio (range)", "bound", "operations and checks")
ABOUT = """# Benchmarks

Two ways of doing the same thing, by turns in one process; the ratio is the plain way's seconds over ours, the median
over the pairs: above 1 ours is faster. `python tools/benchmark.py WHAT --json FILE` measures, and
`python tools/benchmark_report.py FILES -o docs/benchmarks.md` writes this page.

Shares of the same pick: only level 1's is how often an option picks the nearest candidate. A level above compares picks
that may stand on different ones below, and then each can be the nearest of its own candidates."""


def page(files: Sequence[Path]) -> str:
    """Return the page of these files.

    Raises:
        TimError: A file is not there, or not a benchmark's.
    """
    return "\n".join([ABOUT, *(line for path in files for line in _section(path))]) + "\n"


def _section(path: Path) -> list[str]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        compared = [_row(one) for one in content["results"] if "ratio" in one]
        computed = [described(Footprint(**one)) for one in content["results"] if "ratio" not in one]
        conditions = content["conditions"].items()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise TimError(
            f"{path}: not a benchmark's JSON ({type(error).__name__}: {error}): write it by tools/benchmark.py --json"
        ) from error
    listed = [f"- {key}: {value}" for key, value in conditions]
    rows = table(HEADER, compared) if compared else [f"- {' '.join(one.split())}" for one in computed]
    return ["", f"## {path.stem}", "", *rows, "", *listed]


def _row(one: Mapping[str, Any]) -> tuple[str, ...]:
    low, high = one["ratio_range"]
    bound = "" if one["bound"] is None else f"{one['bound'][0]:.2f} ({one['bound'][1]})"
    return (
        f"{one['what']}: {one['setting']}",
        _side(one["plain"]),
        _side(one["ours"]),
        f"{one['ratio']:.2f} ({low:.2f} to {high:.2f})",
        bound,
        "; ".join(f"{name}: {value}" for name, value in {**one["counts"], **one["checks"]}.items()),
    )


def _side(side: Mapping[str, Any]) -> str:
    return f"{side['name']}: {side['seconds']:.3f} s"
