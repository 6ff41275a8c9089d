"""The trunk of ``tim_small``: plain convolutions, smooth, small enough to be held by the package.

Every stage gives a map. The first halves the image by a 4x4 convolution of stride 2, the next ones by a mean over 2x2
(both keep positions centred, and neither aliases as a strided 3x3 does); the last stays at the size of the one before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

SILU_GAIN = 1.68  # keeps the mean square of activations: 1 / sqrt(E[silu(x)^2]) for a standard normal x


class SmallTrunk(nn.Module):
    """Five stages (or another number) of 3x3 convolutions with SiLU; gives the map of each before normalisation.

    Args:
        channels: Of each stage's map.
        convolutions: Of each stage.
        halve: Whether a stage halves its input; the first one always does.
        min_px: Smallest side that it is meant for; smaller images are to be enlarged to it.

    Raises:
        ValueError: The lists have not one entry a stage.
    """

    def __init__(
        self,
        *,
        channels: Sequence[int] = (24, 48, 96, 160, 192),
        convolutions: Sequence[int] = (1, 1, 1, 2, 1),
        halve: Sequence[bool] = (True, True, True, True, False),
        min_px: int = 8,
    ) -> None:
        super().__init__()
        if not len(channels) == len(convolutions) == len(halve):
            raise ValueError(f"channels {channels}, convolutions {convolutions}, halve {halve}: one entry a stage")
        self.channels, self.min_px = tuple(channels), min_px
        self.arguments = {
            "channels": list(channels),
            "convolutions": list(convolutions),
            "halve": list(halve),
            "min_px": min_px,
        }
        before = (3, *channels[:-1])
        self.stages = nn.ModuleList(
            _stage(*one, first=index == 0)
            for index, one in enumerate(zip(before, channels, convolutions, halve, strict=True))
        )

    def randomise(self, generator: torch.Generator) -> SmallTrunk:
        """Fill with weights that keep the size of activations, and no biases; return itself."""
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                fan_in = layer.weight[0].numel()
                nn.init.normal_(layer.weight, std=SILU_GAIN / math.sqrt(fan_in), generator=generator)
                nn.init.zeros_(layer.bias)
        return self

    def forward(self, x: Tensor, num_maps: int | None = None) -> list[Tensor]:
        """Return the maps (N, C_l, H_l, W_l) for inputs (N, 3, H, W) normalised as LPIPS normalises them.

        ``num_maps``: the first so many only, and no stage behind them is run; None: all.
        """
        maps = []
        for stage in self.stages[:num_maps]:
            x = stage(x)
            maps.append(x)
        return maps


def _stage(in_channels: int, out_channels: int, convolutions: int, halve: bool, *, first: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    if first:
        layers += [nn.Conv2d(in_channels, out_channels, 4, stride=2, padding=1), nn.SiLU()]
    elif halve:
        layers.append(nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False))  # a side of 1 stays 1
    for index in range(int(first), convolutions):
        layers += [nn.Conv2d(in_channels if index == 0 else out_channels, out_channels, 3, padding=1), nn.SiLU()]
    return nn.Sequential(*layers)
