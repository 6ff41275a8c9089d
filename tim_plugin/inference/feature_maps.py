"""Feature maps for :mod:`tim_plugin.inference.tiled_tower`: in memory up to a limit, in temporary files beyond it."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from tim_plugin.utils.disk_tensors import FLOAT_BYTES, on_disk, release


class Window(NamedTuple):
    """A rectangle of a map: rows ``top`` to ``bottom``, columns ``left`` to ``right``, ends excluded."""

    top: int
    left: int
    bottom: int
    right: int

    def grown(self, halo: int, height: int, width: int) -> Window:
        """Return the rectangle with ``halo`` more on each side, as far as a map of ``height`` x ``width`` has it."""
        return Window(
            max(self.top - halo, 0),
            max(self.left - halo, 0),
            min(self.bottom + halo, height),
            min(self.right + halo, width),
        )

    def times(self, factor: int) -> Window:
        """Return the same part of a map that is ``factor`` times as large."""
        return Window(*(factor * side for side in self))

    def within(self, other: Window) -> Window:
        """Return this rectangle in the coordinates of one that holds it."""
        return Window(self.top - other.top, self.left - other.left, self.bottom - other.top, self.right - other.left)

    def of(self, maps: Tensor) -> Tensor:
        """Cut the rectangle out of maps (..., H, W)."""
        return maps[..., self.top : self.bottom, self.left : self.right]


def windows(height: int, width: int, size: int) -> Iterator[Window]:
    """Cover a map with squares of ``size``, row by row; the last ones may be smaller."""
    for top in range(0, height, size):
        for left in range(0, width, size):
            yield Window(top, left, min(top + size, height), min(left + size, width))


class FeatureMap:
    """A float32 map (1, C, H, W) on the CPU, read and written by windows; made by :class:`MapStore`."""

    def __init__(self, shape: tuple[int, int, int], in_memory: bool) -> None:
        self.shape = shape
        self.tensor = torch.empty(1, *shape) if in_memory else on_disk(1, *shape)

    def read(self, window: Window) -> Tensor:
        """Return (1, C, h, w); do not write to it."""
        release(self.tensor)  # what was read or written before
        return window.of(self.tensor)

    def write(self, window: Window, values: Tensor) -> None:
        """Store (1, C, h, w) of any precision."""
        window.of(self.tensor).copy_(values)
        release(self.tensor)


class MapStore:
    """Makes feature maps, and decides by those that are still in use whether the next one is in memory or a file.

    Args:
        memory_bytes: What maps in memory may take together; further ones are files in the system's temporary folder.
    """

    def __init__(self, memory_bytes: int) -> None:
        self.memory_bytes = memory_bytes
        self.used_bytes = 0

    def new(self, channels: int, height: int, width: int) -> FeatureMap:
        """Return a map (1, C, H, W) with undefined values; its memory or file is freed when it is no longer used.

        Raises:
            TimError: It has to be a file and the disk is full.
        """
        size = FLOAT_BYTES * channels * height * width
        in_memory = self.used_bytes + size <= self.memory_bytes
        made = FeatureMap((channels, height, width), in_memory)
        if in_memory:
            self.used_bytes += size
            weakref.finalize(made, self._released, size)
        return made

    def _released(self, size: int) -> None:
        self.used_bytes -= size
