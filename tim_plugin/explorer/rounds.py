"""A grid of answers: the wish that it is drawn by, and what was drawn so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tim_plugin.utils.errors import TimError

MOST_COUNT = 24
HIGHEST_SEED = 2**31 - 1
HIGHEST_VARIETY = 3.0


class Stale(Exception):  # noqa: N818 - no error: nobody waits for this work any more
    """Somebody has asked for something else, or has left."""


class Wish(NamedTuple):
    """What a grid of answers is drawn by.

    Attributes:
        parent: Number of the answer that is varied; None: answers to the input itself.
        kept: How many levels of the parent are kept.
        seed: From 0.
        temperature: Variety: 1 as in training, 0 none.
        count: Answers that are shown.
        mask: Number of the mask inside which noise is drawn; None: everywhere.
    """

    parent: int | None = None
    kept: int = 0
    seed: int = 0
    temperature: float = 1.0
    count: int = 8
    mask: int | None = None


class Picture(NamedTuple):
    """An answer's pixels as PNG, without alpha, and how consistent it is with the input, by measure."""

    png: bytes
    measures: Mapping[str, float]


@dataclass
class Round:
    """The answers of one wish: all that were drawn so far, those that are shown, and whether the choice is made.

    While a ``choice.json`` is restored, ``drawn`` are answers of its tree.
    """

    wish: Wish
    drawn: list[int] = field(default_factory=list)
    shown: list[int] = field(default_factory=list)
    num_candidates: int = 0
    is_done: bool = False
    is_restoring: bool = False


def require_in_range(wish: Wish, num_levels: int) -> None:
    """Raise TimError where a number of a wish is none, or out of its range."""
    for what, value, lowest, top in (
        ("levels to keep", wish.kept, 0, num_levels - 1),
        ("the seed", wish.seed, 0, HIGHEST_SEED),
        ("the number of answers", wish.count, 1, MOST_COUNT),
    ):
        if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= top:
            raise TimError(f"{what}: {value!r} must be a whole number from {lowest} to {top}")
    if not isinstance(wish.temperature, (int, float)) or not 0 <= wish.temperature <= HIGHEST_VARIETY:
        raise TimError(f"variety: {wish.temperature!r} must be a number from 0 to {HIGHEST_VARIETY:g}")


def in_place(before: Sequence[int], after: Sequence[int]) -> list[int]:
    """Return ``after`` in an order in which those that were shown before stay where they were."""
    new = iter([number for number in after if number not in before])
    kept = [number if number in after else None for number in before[: len(after)]]
    kept += [None] * (len(after) - len(kept))
    return [next(new) if number is None else number for number in kept]
