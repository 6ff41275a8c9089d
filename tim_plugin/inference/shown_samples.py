"""What pictures of many samples show of them: of samples that come some at a time, no more is kept than that."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from tim_plugin.utils.contact_sheet import PER_LINE, AllSamples, SheetRow, most_shown, shrunk_size, shrunk_to_tile
from tim_plugin.utils.disk_tensors import release
from tim_plugin.utils.strips import strips


class ShownSamples:
    """Collects an image's samples for its contact sheet, and the first of them for the overview of several images.

    Args:
        most: Samples that will be added at most.
        shrink: Shrink samples to the sheet's size before anything else, because they are too large to be kept.
    """

    def __init__(self, most: int, shrink: bool) -> None:
        self.most, self.shrink, self.number = most, shrink, 0
        self._first = self._tiles = torch.zeros(0)  # each in one piece of memory: small pieces would keep large ones
        self._deviation: _RunningDeviation | None = None

    def add(self, samples: Tensor) -> None:
        """Add the next samples (m, C, H, W) in [0, 1], all of one size; alpha is left out, grey is shown as RGB."""
        samples = for_sheet(samples[:, :3]) if self.shrink else samples[:, :3]
        if self.number == 0:
            self._make_room(samples[0])
        for sample in samples:
            if self.number < len(self._first):
                self._first[self.number] = sample
            if self.number < len(self._tiles):
                self._tiles[self.number] = shrunk_to_tile(sample)
            if self.number == 1:  # one sample alone needs no sums, which have the size of four
                self._deviation = _RunningDeviation(self._first[0])
            if self._deviation is not None:
                self._deviation.add(sample)
            self.number += 1

    def _make_room(self, sample: Tensor) -> None:
        height, width = sample.shape[-2:]
        self._first = torch.empty(min(self.most, PER_LINE), *sample.shape)
        self._tiles = torch.empty(min(self.most, most_shown(height, width)), 3, *shrunk_size(height, width))

    def first(self) -> Tensor:
        """Return the first samples, as many as stand in a line (k, C, H, W)."""
        return self._first[: self.number]

    def row(self, picture: Tensor, name: str) -> SheetRow:
        """Return the image's row of a contact sheet, with the input as a picture (3, h, w) in [0, 1]."""
        none = torch.zeros(self._first.shape[-2:])
        every = AllSamples(self.number, none if self._deviation is None else self._deviation.map())
        return SheetRow(picture, self._tiles[: self.number], None, name, every)


class _RunningDeviation:
    """Where samples (C, H, W) differ, from one after the other (Welford 1962), as torch's ``var`` takes it of all."""

    def __init__(self, first: Tensor) -> None:
        self._number = 1
        self._mean = first.double()
        self._squares = torch.zeros_like(self._mean)  # sum of squared distances from the mean

    def add(self, sample: Tensor) -> None:
        self._number += 1
        for rows in strips(sample):
            part, mean = sample[:, rows].double(), self._mean[:, rows]
            change = part - mean
            mean += change / self._number
            self._squares[:, rows] += change * (part - mean)

    def map(self) -> Tensor:
        """Return the standard deviation (H, W), root mean square over the channels."""
        return (self._squares / self._number).float().expand(3, -1, -1).mean(dim=0).sqrt()


def for_sheet(samples: Tensor) -> Tensor:
    """Shrink samples (m, C, H, W) to what a contact sheet shows of them, row by row, as they may lie on disk."""
    height, width = samples.shape[-2:]
    rows, columns = shrunk_size(height, width)
    if (rows, columns) == (height, width):
        return samples
    lines = []
    for row in range(rows):
        area = samples[..., row * height // rows : -(-(row + 1) * height // rows), :]
        lines.append(F.interpolate(area, (1, columns), mode="area"))
        release(samples)
    return torch.cat(lines, dim=-2)
