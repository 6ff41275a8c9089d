"""Helpers of the networks that predict colour or need sides of certain multiples."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from tim_plugin.utils.color import L_MAX, lab_to_rgb

AB_MAX = 110.0  # a and b of every sRGB colour lie within


def with_lightness(ab: Tensor, lightness: Tensor) -> Tensor:
    """Return RGB (N, 3, H, W) of Lab's a and b (N, 2, H, W; -110 to 110) and L / 100 (N, 1, H, W; 0 to 1)."""
    return lab_to_rgb(torch.cat([lightness * L_MAX, ab], dim=1))


def at_multiples(network: Callable[[Tensor], Tensor], images: Tensor, multiple: int) -> Tensor:
    """Run a network on images of any size: padded at the edges to multiples, the result cropped again.

    Args:
        network: Maps (N, C, H, W) to (N, D, H, W) for sides that are multiples of ``multiple``.
        images: (N, C, H, W) of any size.
        multiple: In pixels.

    Returns:
        (N, D, H, W).
    """
    height, width = images.shape[-2:]
    padded = [math.ceil(side / multiple) * multiple - side for side in (height, width)]
    if not any(padded):
        return network(images)
    return network(F.pad(images, (0, padded[1], 0, padded[0]), mode="replicate"))[..., :height, :width]
