"""The table of tasks; the only place that names one.

A new task is one row here, its degradation in ``data/degradations.py``, and its option files.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from tim_plugin.data.degradations import bicubic_downsample
from tim_plugin.errors import TimError, did_you_mean


@dataclass(frozen=True)
class Task:
    """What a task is made of.

    Attributes:
        title: For people.
        scale: Size of the GT over the size of the LQ.
        gt_multiple: Sides of a GT must be multiples of this.
        degrade: GT (..., C, H, W) in [0, 1] -> LQ, as an 8-bit file would hold it.
    """

    title: str
    scale: int
    gt_multiple: int
    degrade: Callable[[Tensor], Tensor]


TASKS = {
    "sr16x": Task("16x super-resolution", 16, 16, partial(bicubic_downsample, scale=16)),
}


def get_task(name: str) -> Task:
    """Look a task up.

    Raises:
        TimError: There is none of that name; the nearest is offered.
    """
    if name not in TASKS:
        raise TimError(f"task {name!r} is not known: {did_you_mean(str(name), TASKS)}")
    return TASKS[name]
