"""How colourful images are, and how much their colours differ from region to region."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor
from torch.nn import functional as F

from tim_plugin.utils.color import rgb_to_lab

REGIONS = 8  # along each side


class Colours(NamedTuple):
    """Of images, in units of CIELAB.

    Attributes:
        chroma: Root of a*^2 + b*^2, mean over pixels: 0 is grey.
        spread: Deviation of (a*, b*) between 8x8 regions of an image: 0 is one tint for the whole image.
    """

    chroma: float
    spread: float


def colours_of(images: Tensor) -> Colours:
    """Return the mean over images (n, 3, H, W) in [0, 1], whose sides are at least 8 pixels."""
    ab = rgb_to_lab(images)[:, 1:]
    regions = F.adaptive_avg_pool2d(ab, REGIONS).flatten(2)  # (n, 2, regions)
    spread = regions.var(dim=2, unbiased=False).sum(dim=1).sqrt()
    return Colours(float(ab.square().sum(dim=1).sqrt().mean()), float(spread.mean()))


def mean_colours(found: Sequence[Colours]) -> Colours:
    """Return the mean over several."""
    return Colours(*(sum(values) / len(found) for values in zip(*found, strict=True)))
