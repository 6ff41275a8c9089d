"""How a search's candidates are run: in chunks that fit in memory, and winners of half precision once more in full.

Nothing here changes which candidates are drawn, so that a search finds the same whatever the machine.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor

from tim_plugin.imle.latents import Draw, LevelLatent, LevelShape, draw_level
from tim_plugin.imle.tower_runner import PlannedTower, SearchPlan, is_sharded, kept_weights
from tim_plugin.imle.types import DistanceLike, Features, Known, TowerLike, Weighted, features_of_target
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.memory import in_memory, peak_bytes
from tim_plugin.utils.trees import join, split

GIB = 2**30

Latent = tuple[LevelLatent, ...]  # latents of the levels that are searched together, batch first
Result = TypeVar("Result")  # has ``latents``
Score = Callable[[TowerLike, Latent], Result]  # runs a tower on latents of some candidates and judges what comes out


class SearchRunner:
    """A tower, how it is run, and what is learned on the way: bytes a candidate, levels that ran out of memory.

    Keep one from search to search, so that nothing is measured or compiled twice.

    Args:
        tower: The tower.
        plan: How it is run; None: plainly.
        draw: Draws one candidate's latents of one level.
    """

    def __init__(self, tower: TowerLike, plan: SearchPlan | None = None, draw: Draw = draw_level) -> None:
        self.tower, self.plan, self.draw = tower, plan or SearchPlan(), draw
        self.planned = PlannedTower(tower, self.plan)
        self.at_most: dict[int, int] = {}  # by level that ran out of memory: items that are run at once
        self._bytes: dict[Any, float] = {}  # by level and shapes: of one item

    def weights_kept(self) -> AbstractContextManager[None]:
        """Compute each weight-normalised weight once for the whole search; torch.compile cannot see that cache."""
        return nullcontext() if self.plan.compiled else kept_weights(self.tower)

    def run(
        self,
        score: Score[Result],
        level: int,
        shapes: Sequence[LevelShape],
        num_candidates: int,
        num_examples: int,
        generator: torch.Generator,
        max_items: int,
    ) -> Iterator[Result]:
        """Draw candidates one by one and yield what ``score`` makes of them, chunk by chunk.

        Args:
            score: Called with the tower and the latents of a chunk: candidate j of example n stands at j * N + n.
            level: The level that is searched, from 0; the last where all are searched together.
            shapes: Of a candidate's latents.
            num_candidates: Of each example.
            num_examples: N.
            generator: Source of the latents, on the tower's device.
            max_items: Run at once (candidates x examples), where the plan has no budget of memory.

        Raises:
            TimError: Not even one candidate of each example can be run at once.
        """
        limit = self._limit(score, level, shapes, num_examples, generator.device, max_items)
        if num_examples > limit:
            raise TimError(
                f"{num_examples} examples do not fit max_candidates_per_batch {limit}: search fewer at a time"
            )
        at_once = limit // num_examples
        for start in range(0, num_candidates, at_once):
            candidates = [
                tuple(self.draw(shape, num_examples, generator) for shape in shapes)
                for _ in range(min(at_once, num_candidates - start))
            ]
            yield from self._in_parts(partial(score, self.planned), level, join(candidates), num_examples)

    def in_full_precision(self, score: Score[Result], level: int, found: Result) -> Result:
        """Return what ``score`` makes of one candidate of each example in full precision.

        Args:
            score: See :meth:`run`.
            level: The level that was searched.
            found: What it made of them by the plan, with their ``latents``; where the plan is exact, that is returned.
        """
        if not self.plan.runs_winners_again:
            return found

        def exactly(part: Latent) -> Result:
            with torch.autocast(part[0].style.device.type, enabled=False):  # in half-precision training too
                return score(self.tower, part)

        return self._in_parts(exactly, level, found.latents, _items(found.latents))[0]

    def _limit(
        self,
        score: Score[Any],
        level: int,
        shapes: Sequence[LevelShape],
        num_examples: int,
        device: torch.device,
        max_items: int,
    ) -> int:
        """Return how many items the level is run on at once, by its budget of memory if it has one."""
        limit = max_items
        if self.plan.memory_gib is not None:
            key = (level, device, tuple(shapes))
            if key not in self._bytes:
                used = in_memory(partial(self._measured, score, shapes, num_examples, device))
                if used is None:
                    raise TimError(_no_room(level, num_examples))
                self._bytes[key] = used / num_examples
            limit = max(num_examples, int(self.plan.memory_gib * GIB / self._bytes[key]))
        return max(num_examples, min(limit, self.at_most[level])) if level in self.at_most else limit

    def _measured(
        self, score: Score[Any], shapes: Sequence[LevelShape], num_examples: int, device: torch.device
    ) -> int:
        """Return the bytes that one candidate of each example takes; a compiled level's memory cannot be watched."""
        watched = PlannedTower(self.tower, replace(self.plan, compiled=False))
        source = torch.Generator(device).manual_seed(0)  # not the search's own: its candidates must not change
        once = partial(score, watched, tuple(draw_level(shape, num_examples, source) for shape in shapes))
        once()  # what stays (normalised weights, constants) is there before it is measured
        return peak_bytes(once, device)

    def _in_parts(
        self, work: Callable[[Latent], Result], level: int, latents: Latent, num_examples: int
    ) -> list[Result]:
        """Do the work on a chunk, or on parts of it where the level ran out of memory before or does so now."""
        items = _items(latents)
        while True:
            size = min(items, self.at_most.get(level, items))
            size = max(num_examples, size // num_examples * num_examples)
            found = in_memory(lambda size=size: [work(part) for part in split(latents, size, items)])
            if found is not None:
                return found
            self._halve(level, size, num_examples)

    def _halve(self, level: int, items: int, num_examples: int) -> None:
        """Run the level on half as many items from now on; raise TimError where that is not possible or was done."""
        if items <= num_examples:
            raise TimError(_no_room(level, items))
        too_many, option = _too_many(level, items), f"imle: {self.plan.limited_by}"
        if is_sharded(self.tower):
            raise TimError(
                f"{too_many}; with train: fsdp the processes run each level together, so that none can go on with half "
                f"as many: lower {option}"
            )
        if level in self.at_most:
            raise TimError(f"{too_many}, and they were halved before: lower {option}, or search_batch")
        warnings.warn(f"{too_many}; going on with half as many. Lower {option}", RuntimeWarning, stacklevel=2)
        self.at_most[level] = math.ceil(items / num_examples / 2) * num_examples
        self.planned.forget_size(level)


def features_of(distance: DistanceLike, targets: Sequence[Tensor | Weighted | Known]) -> list[Features]:
    """Return the features of the targets, computed once for all candidates, or before.

    Raises:
        TimError: They do not fit in memory.
    """
    found = in_memory(lambda: [features_of_target(distance, target) for target in targets])
    if found is None:
        count = len(targets[0].image if isinstance(targets[0], Weighted) else targets[0])
        raise TimError(
            f"the features of {count} targets at once do not fit in memory: lower imle: search_batch, or datasets: "
            "train: gt_size"
        )
    return found


def _items(latents: Latent) -> int:
    return len(latents[0].style)


def _no_room(level: int, items: int) -> str:
    return f"{_too_many(level, items)}, and they are the fewest: lower imle: search_batch, or datasets: train: gt_size"


def _too_many(level: int, items: int) -> str:
    return f"level {level + 1}: {items} items at once (candidates x examples) do not fit in memory"
