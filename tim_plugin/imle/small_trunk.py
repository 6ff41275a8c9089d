"""The trunk of ``tim_small``: plain convolutions, small enough to be held by the package.

It looks as SqueezeNet does, by rectified convolutions and maxima over neighbours: a trunk of smooth units and means
that learned the same distance took the woven pattern of a tower that was trained by it for detail.
Each stage's map is a linear image of its activations with fewer channels, the ones that distances need.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class SmallTrunk(nn.Module):
    """Five stages (or another number): 3x3 convolutions with ReLU; gives the map of each before normalisation.

    The first stage halves the image by a stride of 2. Each other takes the maximum of 2x2 where it halves, squeezes the
    channels by a 1x1 convolution and expands them by a 3x3 one.

    Args:
        channels: Of each stage's activations.
        squeezed: To how many channels each stage but the first squeezes its input.
        halve: Whether each stage but the first halves its input; a side of 1 stays 1.
        map_channels: Of each map.
        min_px: Smallest side that it is meant for; smaller images are to be enlarged to it.

    Attributes:
        channels: Of each map, as other trunks have them.

    Raises:
        ValueError: The lists have not one entry a stage.
    """

    def __init__(
        self,
        *,
        channels: Sequence[int] = (24, 64, 128, 256, 384),
        squeezed: Sequence[int] = (16, 32, 48, 64),
        halve: Sequence[bool] = (True, True, True, False),
        map_channels: Sequence[int] = (16, 32, 48, 64, 96),
        min_px: int = 8,
    ) -> None:
        super().__init__()
        if not len(channels) == len(map_channels) == len(squeezed) + 1 == len(halve) + 1:
            raise ValueError(
                f"channels {channels}, map_channels {map_channels}: one entry a stage; "
                f"squeezed {squeezed}, halve {halve}: one a stage but the first"
            )
        self.activation_channels, self.channels, self.min_px = tuple(channels), tuple(map_channels), min_px
        self.arguments = {
            "channels": list(channels),
            "squeezed": list(squeezed),
            "halve": list(halve),
            "map_channels": list(map_channels),
            "min_px": min_px,
        }
        first = nn.Sequential(nn.Conv2d(3, channels[0], 3, stride=2, padding=1), nn.ReLU())
        others = zip(channels, squeezed, channels[1:], halve, strict=False)  # one channel number more than stages
        self.stages = nn.ModuleList([first, *(_stage(*one) for one in others)])
        self.projections = nn.ModuleList(
            nn.Conv2d(*sizes, 1, bias=False) for sizes in zip(channels, map_channels, strict=True)
        )

    def randomise(self, generator: torch.Generator) -> SmallTrunk:
        """Fill with weights that keep the size of activations, and no biases; return itself."""
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.normal_(layer.weight, std=math.sqrt(2 / layer.weight[0].numel()), generator=generator)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        return self

    def activations(self, x: Tensor, num_maps: int | None = None) -> list[Tensor]:
        """Return what the stages give, (N, ``activation_channels``, H_l, W_l) each; see :meth:`forward`."""
        found = []
        for stage in self.stages[:num_maps]:
            x = stage(x)
            found.append(x)
        return found

    def forward(self, x: Tensor, num_maps: int | None = None) -> list[Tensor]:
        """Return the maps (N, C_l, H_l, W_l) for inputs (N, 3, H, W) normalised as LPIPS normalises them.

        ``num_maps``: the first so many only, and no stage behind them is run; None: all.
        """
        return [
            projection(one)
            for one, projection in zip(self.activations(x, num_maps), self.projections, strict=num_maps is None)
        ]


def _stage(in_channels: int, squeezed: int, out_channels: int, halve: bool) -> nn.Sequential:
    return nn.Sequential(
        *([nn.MaxPool2d(2, ceil_mode=True)] if halve else []),
        nn.Conv2d(in_channels, squeezed, 1),
        nn.ReLU(),
        nn.Conv2d(squeezed, out_channels, 3, padding=1),
        nn.ReLU(),
    )
