"""A moving picture of one input's answers: a walk through the latents of all levels, and of the finest ones alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from tim_plugin.archs.folded import folded
from tim_plugin.archs.levels import all_levels
from tim_plugin.degradations.base import Observed
from tim_plugin.imle.latents import Latents, LevelLatent
from tim_plugin.imle.types import coarsest as coarsest_of
from tim_plugin.inference.image_samples import conditions_of, finished
from tim_plugin.utils.contact_sheet import GAP_PX, text_line
from tim_plugin.utils.images import to_pixels
from tim_plugin.utils.strips import joined

STATIONS = 3  # samples that a walk leads through, and back to the first


@torch.no_grad()
def walk(tower: nn.Module, observed: Observed, frames: int, first_level: int = 0, seed: int = 0) -> Tensor:
    """Return answers on a closed path through the latents, which are standard normal at each step.

    Between two samples' latents a and b lies ``a cos t + b sin t``.

    Args:
        tower: In eval mode.
        observed: The input, a batch of one on the CPU.
        frames: Steps of the whole path.
        first_level: Levels below it keep what the first sample has.
        seed: Of the samples.

    Returns:
        (frames, 3, H, W) in [0, 1], finished as samples are that are saved.
    """
    conditions = conditions_of(tower, observed)
    shapes = tower.latent_shapes(*coarsest_of(conditions).shape[-2:])
    keys = [[[(seed, "walk", station, level) for level in range(len(shapes))]] for station in range(STATIONS)]
    stations = [Latents.from_keys(shapes, key) for key in keys]

    network = folded(tower)

    def answers() -> Iterator[Tensor]:
        for frame in range(frames):
            ways = [frame / frames if level >= first_level else 0.0 for level in range(len(shapes))]
            latents = Latents([between(stations, level, way) for level, way in enumerate(ways)])
            yield all_levels(network, conditions, latents)[-1]

    return joined(list(finished(answers(), tower, observed, "walk")))


def between(stations: Sequence[Latents], level: int, way: float) -> LevelLatent:
    """Return a level's latents at a share of the closed path, in [0, 1)."""
    leg, rest = divmod(way * len(stations), 1)
    a, b = (stations[(int(leg) + step) % len(stations)][level] for step in (0, 1))
    angle = rest * math.pi / 2
    return LevelLatent(*(x * math.cos(angle) + y * math.sin(angle) for x, y in zip(a, b, strict=True)))


def write_moving(path: Path, tower: nn.Module, observed: Observed, frames: int, coarse: int, frame_ms: int) -> None:
    """Write an animated PNG: the input, the walk through all levels, and the one that keeps the coarse levels.

    Args:
        path: Of the file.
        tower: In eval mode.
        observed: The input, a batch of one on the CPU.
        frames: Of the picture.
        coarse: Levels that the second walk keeps.
        frame_ms: How long each frame is shown, in milliseconds.
    """
    walks = [walk(tower, observed, frames, first) for first in (0, coarse)]
    size = tuple(walks[0].shape[-2:])
    lq = F.interpolate(tower.degradation.picture(observed.lq[0])[None], size, mode="nearest")[0]
    title = text_line(["input", "all levels vary", f"{coarse} coarse kept"], size[1])
    gap = torch.ones(3, size[0], GAP_PX)
    pictures = []
    for both in zip(*walks, strict=True):
        line = torch.cat([part for tile in (lq, *both) for part in (tile.expand(3, -1, -1), gap)], dim=2)
        pictures.append(Image.fromarray(to_pixels(torch.cat([title[..., : line.shape[-1]], line], dim=1))))
    path.parent.mkdir(parents=True, exist_ok=True)
    first, *rest = pictures
    first.save(path, save_all=True, append_images=rest, duration=frame_ms, loop=0, optimize=True)
