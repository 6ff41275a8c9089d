"""The room that a search has: what does not fit in memory is done in halves."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import torch

from tim_plugin.imle.search_runner import SearchRunner
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.trees import split

Result = TypeVar("Result")


class Room:
    """How many items of a level one search runs at once.

    Args:
        runner: Remembers which levels ran out of memory.
        level: Index from 0.
        limit: Items to begin with.
    """

    def __init__(self, runner: SearchRunner, level: int, limit: int) -> None:
        self.runner, self.level, self.limit = runner, level, limit

    def do(self, work: Callable[[Any], Result], tree: Any, items: int, step: int) -> list[Result]:
        """Do something with a batch part by part, and where memory runs out in parts of half the size, once a level.

        Args:
            work: Of a part of the batch; never returns None.
            tree: The batch.
            items: How many it has.
            step: The fewest that can be run at once; each part has a multiple of it.

        Raises:
            TimError: A part does not fit in memory.
        """
        while True:
            size = max(step, self.limit // step * step)
            found = in_memory(lambda size=size: [work(part) for part in split(tree, size, items)])
            if found is not None:
                return found
            self._halve(min(size, items), step)

    def _halve(self, items: int, step: int) -> None:
        """Raises TimError where it may not."""
        if items <= step:
            raise TimError(no_room(self.level, items))
        too_many, option = _too_many(self.level, items), f"imle: {self.runner.plan.limited_by}"
        if self.runner.divided:
            raise TimError(
                f"{too_many}; with train: fsdp the processes run each level together, so that none can go on with half "
                f"as many: lower {option}"
            )
        if self.level in self.runner.halved:
            raise TimError(f"{too_many}, and they were halved before: lower {option}, or search_batch")
        warnings.warn(f"{too_many}; going on with half as many. Lower {option}", RuntimeWarning, stacklevel=2)
        self.limit = math.ceil(items / step / 2) * step
        self.runner.halve(self.level, self.limit)


def in_memory(work: Callable[[], Result]) -> Result | None:
    """Return what a function returns, or None where memory ran out: once this returns, what it held is free."""
    try:
        return work()
    except (RuntimeError, MemoryError) as error:  # a CPU's allocator has no error of its own
        if isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "DefaultCPUAllocator" in str(error):
            return None
        raise


def no_room(level: int, items: int) -> str:
    """Say that the fewest items that a level can be run on do not fit in memory."""
    return f"{_too_many(level, items)}, and they are the fewest: lower imle: search_batch, or datasets: train: gt_size"


def _too_many(level: int, items: int) -> str:
    return f"level {level + 1}: {items} items at once (candidates x examples) do not fit in memory"
