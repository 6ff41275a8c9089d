"""From what a last convolution gives to an image."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from tim_plugin.utils.color import L_MAX, lab_to_rgb

AB_MAX = 110.0  # a and b of every sRGB colour lie within


def with_lightness(ab: Tensor, lightness: Tensor) -> Tensor:
    """Return RGB (N, 3, H, W) of a and b (N, 2, H, W), in Lab's units, and L / 100 (N, 1, H, W)."""
    return lab_to_rgb(torch.cat([lightness * L_MAX, ab], dim=1))


def at_multiples(network: Callable[[Tensor], Tensor], images: Tensor, multiple: int) -> Tensor:
    """Run a network that keeps the size on images whose sides it may not divide: continued at the edges, cut after.

    Args:
        network: Maps (N, C, H, W) to (N, D, H, W), for sides that are multiples.
        images: Of any size.
        multiple: What the network's sides must divide by.
    """
    height, width = images.shape[-2:]
    padded = [math.ceil(side / multiple) * multiple - side for side in (height, width)]
    if not any(padded):
        return network(images)
    return network(F.pad(images, (0, padded[1], 0, padded[0]), mode="replicate"))[..., :height, :width]
