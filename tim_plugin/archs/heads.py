"""Helpers of the networks that predict colour or need sides of certain multiples."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from tim_plugin.utils.color import L_MAX, lab_to_rgb

AB_MAX = 110.0  # a and b of every sRGB colour lie within
AUTHORS_AB_MAX = 127.0  # of a and b times L / 100
DARKEST = 0.01  # L / 100 below which the authors' conversion does not go


def at_least_single(raw: Tensor) -> Tensor:
    """Return what a last convolution gives in float32 or more: half precision has fewer steps than an 8-bit image."""
    return raw.to(torch.promote_types(raw.dtype, torch.float32))


def with_lightness(ab: Tensor, lightness: Tensor) -> Tensor:
    """Return RGB (N, 3, H, W) of Lab's a and b (N, 2, H, W; -110 to 110) and L / 100 (N, 1, H, W; 0 to 1)."""
    return lab_to_rgb(torch.cat([lightness * L_MAX, ab], dim=1))


def divided_by_lightness(ab: Tensor, lightness: Tensor) -> Tensor:
    """Return RGB of what the authors' head for colours writes, as their program converts it.

    Colours beyond sRGB are clipped at 0 from below, and b where XYZ's Z would fall below 0.

    Args:
        ab: (N, 2, H, W) in [-1, 1]: a and b times the lightness, over 127.
        lightness: L / 100, (N, 1, H, W).

    Returns:
        (N, 3, H, W), 0 or more.
    """
    lightness = lightness.clamp_min(DARKEST)
    a, b = (ab * AUTHORS_AB_MAX / lightness).split(1, dim=1)
    b = torch.minimum(b, 200 * (lightness * L_MAX + 16) / 116)
    return with_lightness(torch.cat([a, b], dim=1), lightness).clamp_min(0)


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
