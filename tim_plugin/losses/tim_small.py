"""The trunk of ``tim_small``: plain convolutions, small enough to be held by the package.

It is SqueezeNet 1.1 (Iandola et al. 2016; torchvision's fire modules) with fewer channels and with padded borders, so
that even an image of 8x8 pixels gives maps of at least 1x1. Each map is a linear projection (1x1 convolution) of a
layer's activations onto the few channels that distances need.

Two other trunks were tried and dropped. One with smooth activations and average pooling learned the distance, but a
tower trained by it drew a woven pattern that the distance took for detail. One with half the layers learned the
distance, but not its gradient.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.squeezenet import Fire


class SmallTrunk(nn.Module):
    """A 3x3 convolution of stride 2 and eight fire modules at four resolutions; returns maps of some of the layers.

    A fire module squeezes its input by a 1x1 convolution and expands it by a 1x1 and a 3x3 one, half the channels each.
    A layer that halves its input takes the maximum of 3x3 first.

    Args:
        channels: Channels of each layer's activations, the convolution's first; those of fire modules must be even.
        squeezed: Channels to which each fire module squeezes its input.
        halve: Whether the input of each fire module is first halved in size; a side of 1 stays 1.
        map_channels: Channels of each layer's map; 0 for a layer without a map.
        min_px: Smallest side of an input; callers enlarge smaller images to it.

    Attributes:
        channels: Channels of each map.
        activation_channels: Channels of the activations that each map is made from.
        arguments: The constructor's arguments, which a file of weights stores.

    Raises:
        ValueError: The lists have not one entry a layer, or a fire module's channels are odd.
    """

    def __init__(
        self,
        *,
        channels: Sequence[int] = (48, 96, 96, 192, 192, 288, 288, 384, 384),
        squeezed: Sequence[int] = (16, 16, 32, 32, 48, 48, 64, 64),
        halve: Sequence[bool] = (True, False, True, False, True, False, False, False),
        map_channels: Sequence[int] = (16, 0, 32, 0, 48, 64, 64, 64, 64),
        min_px: int = 8,
    ) -> None:
        super().__init__()
        if not len(channels) == len(map_channels) == len(squeezed) + 1 == len(halve) + 1:
            raise ValueError(
                f"channels {channels}, map_channels {map_channels}: one entry a layer; "
                f"squeezed {squeezed}, halve {halve}: one a layer but the first"
            )
        if any(one % 2 for one in channels[1:]):
            raise ValueError(f"channels {channels}: all but the first must be even")
        self.min_px, self.halve = min_px, tuple(halve)
        self.mapped = tuple(index for index, count in enumerate(map_channels) if count)
        self.channels = tuple(map_channels[index] for index in self.mapped)
        self.activation_channels = tuple(channels[index] for index in self.mapped)
        self.arguments = {
            "channels": list(channels),
            "squeezed": list(squeezed),
            "halve": list(halve),
            "map_channels": list(map_channels),
            "min_px": min_px,
        }
        self.first = nn.Sequential(nn.Conv2d(3, channels[0], 3, stride=2, padding=1), nn.ReLU(inplace=True))
        fires = zip(channels, squeezed, channels[1:], strict=False)  # one channel number more than fire modules
        self.fires = nn.ModuleList(Fire(given, inner, made // 2, made // 2) for given, inner, made in fires)
        self.pool = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.projections = nn.ModuleList(
            nn.Conv2d(*sizes, 1, bias=False) for sizes in zip(self.activation_channels, self.channels, strict=True)
        )
        self.to(memory_format=torch.channels_last)  # see activations()

    def randomise(self, generator: torch.Generator) -> SmallTrunk:
        """Draw weights by He initialisation, set biases to 0, and return the trunk itself."""
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.normal_(layer.weight, std=math.sqrt(2 / layer.weight[0].numel()), generator=generator)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        return self

    def activations(self, x: Tensor) -> list[Tensor]:
        """Return the activations of the layers that have maps, (N, C_l, H_l, W_l) with ``activation_channels``.

        Args:
            x: (N, 3, H, W), normalised as for LPIPS.
        """
        # With channels side by side in memory the maxima take a twentieth of the time on a CPU.
        x = self.first(x.contiguous(memory_format=torch.channels_last))
        found = [x] if 0 in self.mapped else []
        for index, (fire, halve) in enumerate(zip(self.fires, self.halve, strict=True), start=1):
            if index > self.mapped[-1]:
                break
            x = fire(self.pool(_at_least_2(x)) if halve else x)
            if index in self.mapped:
                found.append(x)
        return found

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the maps (N, C_l, H_l, W_l) of inputs (N, 3, H, W), normalised as for LPIPS."""
        return [projection(one) for one, projection in zip(self.activations(x), self.projections, strict=True)]


def _at_least_2(x: Tensor) -> Tensor:
    """Repeat the only row or column of a side of 1, so that halving leaves it as it is."""
    missing = [int(side == 1) for side in x.shape[-2:]]
    return F.pad(x, (0, missing[1], 0, missing[0]), mode="replicate") if any(missing) else x
