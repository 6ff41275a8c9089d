"""From GT to LQ."""

from __future__ import annotations

from torch import Tensor

from tim_plugin.images import round_to_8_bit
from tim_plugin.resize import bicubic_resize


def bicubic_downsample(gt: Tensor, scale: int) -> Tensor:
    """Shrink by antialiased bicubic (MATLAB's and BasicSR's), clipped and rounded as an 8-bit PNG would hold it.

    Args:
        gt: (..., C, H, W) in [0, 1], sides divisible by ``scale``.
        scale: 16 for 16x super-resolution.

    Returns:
        (..., C, H / scale, W / scale) in [0, 1].
    """
    height, width = gt.shape[-2:]
    return round_to_8_bit(bicubic_resize(gt, (height // scale, width // scale)))
