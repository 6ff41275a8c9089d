"""Very large images, some rows at a time: what is made of them takes the memory of a strip, not of an image."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from tim_plugin.utils.disk_tensors import empty_like, release

VERY_LARGE = 2**24  # values of one image (17 million) from which on it is finished strip by strip
STRIP_VALUES = 2**22


def is_very_large(images: Tensor) -> bool:
    """Tell whether images (..., C, H, W) are each so large that they are to be worked on strip by strip.

    Never where that would have to be differentiated.
    """
    return are_very_many(math.prod(images.shape[-3:])) and not (torch.is_grad_enabled() and images.requires_grad)


def are_very_many(values: int) -> bool:
    """Tell it of an image with so many values, of all channels together."""
    return values > VERY_LARGE


def strips(images: Tensor, step: int = 1) -> Iterator[slice]:
    """Give the rows of images (..., H, W), a multiple of ``step`` at a time but for the last ones.

    Between two strips the memory of images on disk is given back.
    """
    height = images.shape[-2]
    rows = max(STRIP_VALUES * height // max(images.numel(), 1) // step, 1) * step
    for top in range(0, height, rows):
        yield slice(top, min(top + rows, height))
        release(images)


def by_strips(function: Callable[[Tensor, slice], Tensor], images: Tensor, step: int = 1) -> Tensor:
    """Return what a function makes of images (..., C, H, W): of very large ones strip by strip, on disk if they are.

    Args:
        function: Of some rows of the images and which ones they are; keeps their shape.
        images: Of any size; those that are not very large are one strip.
        step: Each strip but the last has a multiple of this many rows.
    """
    if not is_very_large(images):
        return function(images, slice(0, images.shape[-2]))
    result = empty_like(images)
    for rows in strips(images, step):
        result[..., rows, :] = function(images[..., rows, :], rows)
        release(result)
    return result


def joined(parts: Sequence[Tensor]) -> Tensor:
    """Put tensors (N, ...) one behind the other; a single one, which may be very large, is not copied."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))
