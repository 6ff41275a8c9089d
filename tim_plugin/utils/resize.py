"""Bicubic resizing as two matrices: MATLAB's imresize, as in BasicSR's matlab_functions, but differentiable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from tim_plugin.utils.strips import strips

_Builder = Callable[[int, int], Tensor]
_LARGEST_KEPT = 2**19  # entries of a matrix that is worth keeping; photographs of all sizes must not fill the memory


def bicubic_matrix(in_px: int, out_px: int) -> Tensor:
    """Return the (out_px, in_px) matrix that resizes a line, float64 on the CPU; its rows sum to 1. Do not write to it.

    The kernel is widened when shrinking (antialiasing) and the line is continued symmetrically beyond its ends.
    """
    return _kept_matrix(_bicubic_matrix, in_px, out_px, torch.float64, torch.device("cpu"))


def bicubic_resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize images (..., H, W) to ``size`` (h, w); antialiased when shrinking; may overshoot the input's range."""
    return resizer_of_rows(images, size)(slice(None))  # (..., h, w)


def shrink_by_strips(plane: Tensor, size: tuple[int, int], prepare: Callable[[Tensor], Tensor]) -> Tensor:
    """Resize one very large plane (H, W) to a smaller ``size`` (h, w), some rows at a time, without a copy of it.

    Args:
        plane: Of any precision.
        size: Of the result.
        prepare: What is done to the rows before, such as rounding; gives the precision of the result.
    """
    kind = prepare(plane[:1])
    vertical, horizontal = kept_matrices(_bicubic_matrix, plane.shape, size, kind)
    rows = kind.new_zeros(size[0], plane.shape[1])
    for reading in strips(plane):
        part = vertical[:, reading]
        reached = part.any(dim=1).nonzero()
        low, high = int(reached[0]), int(reached[-1]) + 1  # the kernel is narrow: these rows reach a few of the result
        rows[low:high] += part[low:high] @ prepare(plane[reading])
    return rows @ horizontal.T  # (h, w)


def resizer_of_rows(images: Tensor, size: tuple[int, int]) -> Callable[[slice], Tensor]:
    """Return a function from a slice of rows to those rows of :func:`bicubic_resize`, for results too large for memory.

    Args:
        images: (..., H, W).
        size: (h, w) of the whole result.
    """
    vertical, horizontal = kept_matrices(_bicubic_matrix, images.shape[-2:], size, images)
    return lambda rows: vertical[rows] @ images @ horizontal.T


def kept_matrices(build: _Builder, in_px: Sequence[int], out_px: Sequence[int], like: Tensor) -> tuple[Tensor, Tensor]:
    """Return the two matrices ``build(in, out)`` of a separable resizing, vertical and horizontal, from a cache.

    Args:
        build: Makes an (out, in) matrix, or its inverse, in float64 on the CPU.
        in_px: (height, width) of the input.
        out_px: (height, width) of the output.
        like: A tensor of the precision and on the device that are wanted.
    """
    vertical, horizontal = (
        _kept_matrix(build, *sides, like.dtype, like.device) for sides in zip(in_px, out_px, strict=True)
    )
    return vertical, horizontal


def _kept_matrix(build: _Builder, in_px: int, out_px: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return ``build(in_px, out_px)`` as ``dtype`` on ``device``, kept for the next call unless it is large."""
    if torch.jit.is_tracing():  # of a graph for any size, in which sizes are tensors
        return build(in_px, out_px).to(device, dtype)
    make = _kept if in_px * out_px <= _LARGEST_KEPT else _kept.__wrapped__
    return make(build, in_px, out_px, dtype, device)


@lru_cache(maxsize=128)
def _kept(build: _Builder, in_px: int, out_px: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # what a sampling run keeps must serve a training step too
        return build(in_px, out_px).to(device, dtype)


def _bicubic_matrix(in_px: int, out_px: int) -> Tensor:
    scale = out_px / in_px
    stretch = min(scale, 1.0)
    centre = (torch.arange(out_px, dtype=torch.float64) + 0.5) / scale - 0.5  # in input pixels
    reach = int(2 / stretch) + 2
    source = centre.floor().long()[:, None] + torch.arange(-reach, reach + 1)  # (out, taps)
    weights = _cubic((centre[:, None] - source) * stretch)
    weights = weights / weights.sum(dim=1, keepdim=True)
    period = source % (2 * in_px)  # ... 1 0 | 0 1 ... n-1 | n-1 n-2 ...
    source = torch.where(period < in_px, period, 2 * in_px - 1 - period)
    return torch.zeros(out_px, in_px, dtype=torch.float64).scatter_add_(1, source, weights)


def _cubic(x: Tensor) -> Tensor:
    """Keys' kernel with a = -0.5."""
    x = x.abs()
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return torch.where(x <= 1, near, torch.where(x <= 2, far, torch.zeros_like(x)))
