"""Distortions of photographs by families, each with one strength: what a perceptual distance is taught and judged on.

A family is a function (images (N, 3, H, W) in [0, 1], strength (N,) in [0, 1], generator) -> images in [0, 1]. What it
draws does not depend on the strength, so that with one seed a greater strength is more of the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tim_plugin.archs.tower_arch import TowerGenerator
from tim_plugin.degradations.base import Observed
from tim_plugin.degradations.bicubic import project
from tim_plugin.imle.latents import Latents
from tim_plugin.imle.pyramid import condition_pyramid
from tim_plugin.utils.resize import bicubic_resize

Distortion = Callable[[Tensor, Tensor, torch.Generator], Tensor]

MOST_BLUR_PX = 4.0
MOST_NOISE_STD = 0.25
BEST_QUALITY, WORST_QUALITY = 96, 6
MOST_WARP = 0.04  # of the shorter side
WARP_CELLS = 4  # a side: how finely the field of displacements varies
MOST_SHRINKING = 7
COLOUR_STD = 0.25
MOST_FIELD_STD = 0.35
MOST_GRATINGS = 3
LEAST_PERIOD_PX, MOST_PERIODS = 2.0, 8.0  # and up to so many times the least
TOWER = {
    "trunk_channels": 8,
    "growth_channels": 8,
    "num_blocks": 1,
    "noise_channels": 4,
    "style_dim": 8,
    "mapping_width": 16,
    "mapping_layers": 2,
    "mapping_init": "he",
    "consistency": "project",
}
NUM_TOWERS = 16
INPUT_PX = 4  # about the side of a tower's input


def blur(images: Tensor, strength: Tensor, generator: torch.Generator) -> Tensor:
    """Gaussian blur of a deviation up to MOST_BLUR_PX."""
    deviation = (MOST_BLUR_PX * strength).clamp_min(1e-3).view(-1, 1, 1)
    vertical, horizontal = (_gaussian(side, deviation)[:, None] for side in images.shape[-2:])  # (N, 1, side, side)
    return vertical @ images @ horizontal.transpose(-1, -2)


def noise(images: Tensor, strength: Tensor, generator: torch.Generator) -> Tensor:
    """White noise of a deviation up to MOST_NOISE_STD, for a half of the items the same in all channels."""
    drawn = torch.randn(images.shape, generator=generator)
    grey = torch.rand(len(images), 1, 1, 1, generator=generator) < 0.5
    return (images + MOST_NOISE_STD * _per_item(strength) * torch.where(grey, drawn[:, :1], drawn)).clamp(0, 1)


def jpeg(images: Tensor, strength: Tensor, generator: torch.Generator) -> Tensor:
    """JPEG compression (4:2:0) from BEST_QUALITY down to WORST_QUALITY."""
    qualities = (BEST_QUALITY + (WORST_QUALITY - BEST_QUALITY) * strength).round().int().tolist()
    pixels = images.mul(255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).flip(-1).numpy()  # BGR, as OpenCV has it
    coded = [
        cv2.imdecode(cv2.imencode(".jpg", one, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)
        for one, quality in zip(np.ascontiguousarray(pixels), qualities, strict=True)
    ]
    return torch.from_numpy(np.stack(coded)).flip(-1).permute(0, 3, 1, 2).float().div(255)


def colour(images: Tensor, strength: Tensor, generator: torch.Generator) -> Tensor:
    """Channels mixed and shifted: hue, saturation, contrast and brightness at once."""
    matrix = COLOUR_STD * torch.randn(len(images), 3, 3, generator=generator)
    shift = COLOUR_STD * torch.randn(len(images), 3, 1, 1, generator=generator)
    change = torch.einsum("nij,njhw->nihw", matrix, images - 0.5) + shift
    return (images + _per_item(strength) * change).clamp(0, 1)


def warp(images: Tensor, strength: Tensor, generator: torch.Generator) -> Tensor:
    """Positions moved by a smooth field of a deviation up to MOST_WARP of the shorter side."""
    height, width = images.shape[-2:]
    field = torch.randn(len(images), 2, WARP_CELLS, WARP_CELLS, generator=generator)
    field = F.interpolate(field, (height, width), mode="bicubic", align_corners=True)
    moved = 2 * MOST_WARP * min(height, width) * _per_item(strength) * field  # in half pixels
    moved = moved / torch.tensor([width, height]).view(1, 2, 1, 1)
    still = F.affine_grid(torch.eye(2, 3).expand(len(images), 2, 3), list(images.shape), align_corners=False)
    grid = still + moved.permute(0, 2, 3, 1)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def shrink(images: Tensor, strength: Tensor, generator: torch.Generator) -> Tensor:
    """Shrunk by a factor up to 1 + MOST_SHRINKING and enlarged again, bicubically."""
    size = tuple(images.shape[-2:])
    found = []
    for image, factor in zip(images, (1 + MOST_SHRINKING * strength).tolist(), strict=True):
        small = tuple(max(round(side / factor), 1) for side in size)
        found.append(bicubic_resize(bicubic_resize(image, small), size))
    return torch.stack(found).clamp(0, 1)


def fields(images: Tensor, strength: Tensor, generator: torch.Generator) -> Tensor:
    """The image at low resolution with, more and more, random detail in place of its own.

    The detail is a sum of octaves of noise, each of a random weight.
    """
    size = tuple(images.shape[-2:])
    octaves, detail, side = 0, torch.zeros_like(images), 2 * _input_px(images)
    while side <= min(size):
        drawn = torch.randn(len(images), 3, side, side, generator=generator)
        weight = torch.rand(len(images), 1, 1, 1, generator=generator)
        detail = detail + weight * F.interpolate(drawn, size, mode="bilinear", align_corners=False)
        octaves, side = octaves + 1, 2 * side
    amount = torch.rand(len(images), 1, 1, 1, generator=generator)
    return _in_place_of_detail(images, strength, MOST_FIELD_STD * amount * detail / max(octaves, 1) ** 0.5)


def weave(images: Tensor, strength: Tensor, generator: torch.Generator) -> Tensor:
    """As :func:`fields`, but the detail is regular: gratings of random periods, directions and colours, a little bent.

    So are the patterns that a tower at the beginning of its training makes of its noise.
    """
    count, size = len(images), tuple(images.shape[-2:])

    def drawn(most: float) -> Tensor:
        return most * torch.rand(count, 1, 1, 1, generator=generator)

    def smooth(channels: int) -> Tensor:
        field = torch.randn(count, channels, WARP_CELLS, WARP_CELLS, generator=generator)
        return F.interpolate(field, size, mode="bicubic", align_corners=False)

    y, x = (torch.arange(float(side)).view(shape) for side, shape in zip(size, ((-1, 1), (1, -1)), strict=True))
    detail = torch.zeros_like(images)
    for _ in range(MOST_GRATINGS):
        angle = torch.where(drawn(1.0) < 0.5, drawn(math.pi), drawn(2.0).floor() * math.pi / 2)  # half of them upright
        period = LEAST_PERIOD_PX * (drawn(1.0) * math.log(MOST_PERIODS)).exp()
        phase = 2 * math.pi * ((x * angle.cos() + y * angle.sin()) / period + drawn(1.0)) + smooth(1)
        tint = torch.randn(count, 3, 1, 1, generator=generator)
        tint = torch.where(drawn(1.0) < 0.5, tint, tint[:, :1])
        detail = detail + (drawn(1.0) < 0.6) * tint * phase.sin()
    return _in_place_of_detail(images, strength, drawn(MOST_FIELD_STD) * smooth(1).abs() * detail)


def tower(images: Tensor, strength: Tensor, generator: torch.Generator) -> Tensor:
    """As :func:`fields`, but the detail is what an untrained tower makes of the image's low resolution.

    The tower is one of NUM_TOWERS, which differ in their weights.
    """
    seed = int(torch.randint(NUM_TOWERS, (), generator=generator))
    px = _input_px(images)
    network = _untrained_tower(max((min(images.shape[-2:]) // px).bit_length() - 1, 1), seed)
    latents = Latents.draw(network.latent_shapes(px, px), len(images), generator)
    with torch.no_grad():
        lq = Observed(bicubic_resize(images, (px, px)))
        made = network(condition_pyramid(lq, network.spec, network.degradation), latents)[-1]
    return _in_place_of_detail(images, strength, bicubic_resize(made, tuple(images.shape[-2:])))


FAMILIES: dict[str, Distortion] = {
    "blur": blur,
    "noise": noise,
    "jpeg": jpeg,
    "colour": colour,
    "warp": warp,
    "shrink": shrink,
    "fields": fields,
    "weave": weave,
    "tower": tower,
}


@cache
def _untrained_tower(num_levels: int, seed: int) -> TowerGenerator:
    """Made once: weight normalisation makes a tower's constructor slow."""
    with torch.random.fork_rng(devices=[]):  # a constructor draws from the global generator
        torch.manual_seed(seed)
        return TowerGenerator(num_levels=num_levels, **TOWER).eval().requires_grad_(False)


def _per_item(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)


def _gaussian(side: int, deviation: Tensor) -> Tensor:
    """(N, side, side): rows that sum to 1."""
    place = torch.arange(side, dtype=deviation.dtype)
    weights = torch.exp(-0.5 * ((place[:, None] - place) / deviation).square())
    return weights / weights.sum(dim=-1, keepdim=True)


def _input_px(images: Tensor) -> int:
    """Side of the low resolution that images keep: the image's divided by 2 until it is small."""
    side = min(images.shape[-2:])
    while side >= 2 * INPUT_PX:
        side //= 2
    return side


def _in_place_of_detail(images: Tensor, strength: Tensor, made: Tensor) -> Tensor:
    """Go from the images to what is made, both projected on the images' low resolution."""
    px = _input_px(images)
    lq = bicubic_resize(images, (px, px))
    return torch.lerp(images, project(made, lq), _per_item(strength)).clamp(0, 1)
