"""The table of tasks; the only place that names one. It needs no torch until a degradation is asked for.

A new task is one row here, its degradation in ``degradations/``, and its option files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tim_plugin.utils.errors import TimError, did_you_mean

if TYPE_CHECKING:
    from tim_plugin.degradations.base import Degradation


@dataclass(frozen=True)
class Task:
    """What a task is made of.

    Attributes:
        title: For people.
        degradation: What makes the LQ, a key of :data:`tim_plugin.degradations.table.DEGRADATIONS`.
        scale: Size of the GT over the size of the LQ.
        gt_multiple: Sides of a GT must be multiples of this.
    """

    title: str
    degradation: str
    scale: int = 1
    gt_multiple: int = 1

    @property
    def options(self) -> frozenset[str]:
        """Keys of a dataset's section that are the degradation's (:func:`degradation_options` says what they mean)."""
        from tim_plugin.degradations.table import degradation_options

        return frozenset(option.name for option in degradation_options(self.degradation))

    def build(self, section: Mapping[str, Any], where: str) -> Degradation:
        """Build the degradation from a dataset's section; ``where`` names the section in errors.

        Raises:
            TimError: An option of the degradation is missing or wrong.
        """
        from tim_plugin.degradations.table import build_degradation

        arguments = {key: value for key, value in section.items() if key in self.options}
        foreign = sorted(key for task in TASKS.values() for key in task.options - self.options if key in section)
        if foreign:
            raise TimError(f"{where}: {foreign[0]} is no option of {self.title}" + _offer(self.options))
        if self.scale > 1:
            arguments["scale"] = self.scale
        return build_degradation(self.degradation, arguments, where)


TASKS = {
    "sr4x": Task("4x super-resolution", "bicubic", scale=4, gt_multiple=4),
    "sr8x": Task("8x super-resolution", "bicubic", scale=8, gt_multiple=8),
    "sr16x": Task("16x super-resolution", "bicubic", scale=16, gt_multiple=16),
    "colorization": Task("colourisation", "lightness", gt_multiple=8),
    "decompression": Task("image decompression", "jpeg", gt_multiple=16),
    "layouts": Task("image synthesis from scene layouts", "labels", gt_multiple=16),
    "mnist_pca": Task("digits from their first principal components", "pca", gt_multiple=4),
}


def _offer(options: frozenset[str]) -> str:
    return f", which has {', '.join(sorted(options))}" if options else ", which has none of its own"


def get_task(name: str) -> Task:
    """Look a task up.

    Raises:
        TimError: There is none of that name; the nearest is offered.
    """
    if not isinstance(name, str) or name not in TASKS:
        raise TimError(f"task {name!r} is not known: {did_you_mean(str(name), TASKS)}")
    return TASKS[name]
