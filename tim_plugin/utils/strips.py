"""Working on very large images one strip of rows at a time, so that temporary tensors have the size of a strip."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from tim_plugin.utils.disk_tensors import empty_like, release

VERY_LARGE = 2**24  # values of one image (17 million) from which on it is finished strip by strip
STRIP_VALUES = 2**22


def is_very_large(images: Tensor) -> bool:
    """Tell whether images (..., C, H, W) are so large that they are worked on strip by strip (above 2^24 values each).

    Images that need a gradient are not: strips are written in place.
    """
    return is_very_large_size(math.prod(images.shape[-3:])) and not (torch.is_grad_enabled() and images.requires_grad)


def is_very_large_size(values: int) -> bool:
    """Tell whether an image of so many values (C H W) is worked on strip by strip."""
    return values > VERY_LARGE


def strips(images: Tensor, step: int = 1) -> Iterator[slice]:
    """Yield slices of rows that together cover images (..., H, W), about 2^22 values each.

    Between two strips the memory that images on disk occupy is freed.

    Args:
        images: Of any size; small ones are one strip.
        step: Each strip but the last has a multiple of this many rows.
    """
    height = images.shape[-2]
    rows = max(STRIP_VALUES * height // max(images.numel(), 1) // step, 1) * step
    for top in range(0, height, rows):
        yield slice(top, min(top + rows, height))
        release(images)


def by_strips(function: Callable[[Tensor, slice], Tensor], images: Tensor, step: int = 1) -> Tensor:
    """Apply a function to images (..., C, H, W), strip by strip where they are very large.

    Args:
        function: Maps some rows of the images, and the slice that they are, to new values of the same shape.
        images: Of any size; those that are not very large are one strip.
        step: Each strip but the last has a multiple of this many rows.

    Returns:
        A tensor of the images' shape, on disk if they are.
    """
    if not is_very_large(images):
        return function(images, slice(0, images.shape[-2]))
    result = empty_like(images)
    for rows in strips(images, step):
        result[..., rows, :] = function(images[..., rows, :], rows)
        release(result)
    return result


def joined(parts: Sequence[Tensor]) -> Tensor:
    """Concatenate tensors (N, ...) along the batch; a single one, which may be very large, is not copied."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))
