"""Bicubic resizing as a pair of matrices: MATLAB's ``imresize``, as in ``basicsr.utils.matlab_functions``, but differentiable."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor


@lru_cache(maxsize=256)
def bicubic_matrix(in_px: int, out_px: int) -> Tensor:
    """Return the (out_px, in_px) matrix that resizes a line, float64 on the CPU; its rows sum to 1.

    The kernel is widened when shrinking (antialiasing) and the line is continued symmetrically beyond its ends.
    """
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


def bicubic_resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize images (..., H, W) to ``size`` (h, w); antialiased when shrinking; may overshoot the input's range."""
    height, width = images.shape[-2:]
    vertical = bicubic_matrix(height, size[0]).to(images)
    horizontal = bicubic_matrix(width, size[1]).to(images)
    return vertical @ images @ horizontal.T  # (..., h, w)


def _cubic(x: Tensor) -> Tensor:
    """Keys' kernel with a = -0.5."""
    x = x.abs()
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return torch.where(x <= 1, near, torch.where(x <= 2, far, torch.zeros_like(x)))
