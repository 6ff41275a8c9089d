"""Two ways of doing the same thing, timed by turns, and what is reported of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import singledispatch
from pathlib import Path
from typing import Any

import torch

from paper.run_conditions import machine
from tim_plugin.utils.errors import TimError


@dataclass(frozen=True)
class Side:
    """One of the two ways: its name, and the median of its seconds."""

    name: str
    seconds: float


@dataclass(frozen=True)
class Comparison:
    """What a benchmark found.

    Attributes:
        what: The benchmark, and what of it.
        setting: Network and sizes, for people.
        plain: The way that is compared with.
        ours: The way that is measured.
        ratio: ``plain`` over ``ours``, the median over the pairs: above 1 ours is faster.
        ratio_range: The least and the largest of the pairs.
        bound: What the ratio can be at most (or should be at least), and why, or None.
        counts: Operations of both sides, which explain the ratio.
        checks: What shows that both do the same thing.
    """

    what: str
    setting: str
    plain: Side
    ours: Side
    ratio: float
    ratio_range: tuple[float, float]
    bound: tuple[float, str] | None = None
    counts: Mapping[str, Any] = field(default_factory=dict)
    checks: Mapping[str, Any] = field(default_factory=dict)


def compare(
    what: str,
    setting: str,
    plain: tuple[str, Callable[[], Any]],
    ours: tuple[str, Callable[[], Any]],
    repeats: int,
    device: str | torch.device = "cpu",
    **about: Any,
) -> Comparison:
    """Time two functions by turns, after one run of each that is not timed.

    Args:
        what: See :class:`Comparison`; likewise ``setting`` and ``about``.
        plain: Name and function.
        ours: Name and function.
        repeats: Pairs.
        device: Waited for before and after each run.

    Raises:
        TimError: ``repeats`` is less than 1.
    """
    require_repeats(repeats)
    for _, function in (plain, ours):
        function()
    pairs = [(seconds(plain[1], device), seconds(ours[1], device)) for _ in range(repeats)]
    return of_pairs(what, setting, (plain[0], ours[0]), pairs, **about)


def of_pairs(
    what: str, setting: str, names: tuple[str, str], pairs: Sequence[tuple[float, float]], **about: Any
) -> Comparison:
    """Return what pairs of seconds come to.

    Args:
        what: See :class:`Comparison`; likewise ``setting`` and ``about``.
        names: Of the way that is compared with, and of the one that is measured.
        pairs: Seconds of both, measured by turns.
    """
    ratios = [a / b for a, b in pairs]
    sides = (Side(*one) for one in zip(names, map(statistics.median, zip(*pairs, strict=True)), strict=True))
    return Comparison(what, setting, *sides, statistics.median(ratios), (min(ratios), max(ratios)), **about)


def require_repeats(repeats: int) -> None:
    """Check a number of pairs.

    Raises:
        TimError: It is less than 1.
    """
    if repeats < 1:
        raise TimError(f"--repeats {repeats}: must be at least 1")


def seconds(function: Callable[[], Any], device: str | torch.device = "cpu") -> float:
    """Return how long a function takes, the device's work included."""
    _wait(device)
    started = time.perf_counter()
    function()
    _wait(device)
    return time.perf_counter() - started


def _wait(device: str | torch.device) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()


@singledispatch
def described(one: Comparison) -> str:
    """Return what a benchmark found as lines for people; another kind than a comparison registers its own."""
    low, high = one.ratio_range
    lines = [f"{one.what}: {one.setting}"]
    width = max(len(one.plain.name), len(one.ours.name))
    lines += [f"  {side.name:<{width}} {side.seconds:9.3f} s" for side in (one.plain, one.ours)]
    bound = "" if one.bound is None else f"; {one.bound[1]}: {one.bound[0]:.2f}"
    lines.append(f"  ratio {one.ratio:.2f} ({low:.2f} to {high:.2f}){bound}")
    lines += [f"  {name}: {value}" for name, value in {**one.counts, **one.checks}.items()]
    return "\n".join(lines)


def as_json(found: list[Any], root: Path, device: str | torch.device) -> dict[str, Any]:
    """Return findings with what they were measured on; ``root`` is the project's folder, for the commit."""
    return {
        "conditions": {**machine(root, device), "threads": torch.get_num_threads()},
        "results": [one if isinstance(one, dict) else asdict(one) for one in found],
    }
