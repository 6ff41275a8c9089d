"""Mapping network: dense layers from a style vector to scales and offsets (paper, section 4.3; after StyleGAN)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tim_plugin.options.tower_spec import MAPPING_INITS
from tim_plugin.utils.errors import TimError, did_you_mean


class MappingNetwork(nn.Module):
    """Dense layers with LeakyReLU(0.2), then one linear layer that gives a scale and an offset per channel and block.

    Args:
        style_dim: Length D of the style vector.
        num_blocks: Number of RRDBs K that are modulated.
        channels: Channels C of each RRDB's output.
        width: Width of the hidden layers.
        num_layers: Number of hidden layers.
        init: ``pytorch``: the default of ``nn.Linear``, as in the published code; what depends on the style then
            shrinks by about 0.4 a layer, to 0.001 after 8 layers, and the style acts only once it is learned.
            ``he``: normal, with the gain of LeakyReLU(0.2), so that the style acts from the first step.
        num_below: Mapping networks of the levels below, whose last hidden layer the second layer of this one also
            reads, beside its own first (CHIMLE, Peng et al. 2022).

    Raises:
        TimError: ``init`` is neither.
    """

    def __init__(
        self,
        *,
        style_dim: int = 128,
        num_blocks: int = 6,
        channels: int = 64,
        width: int = 512,
        num_layers: int = 8,
        init: str = "pytorch",
        num_below: int = 0,
    ) -> None:
        super().__init__()
        if init not in MAPPING_INITS:
            raise TimError(f"MappingNetwork: init {init!r} is not known: {did_you_mean(str(init), MAPPING_INITS)}")
        if num_below and num_layers < 2:
            raise TimError(f"MappingNetwork: num_layers {num_layers}: to see the levels below it needs at least 2")
        self.num_blocks, self.channels = num_blocks, channels
        sizes = [style_dim] + [width] * num_layers
        layers: list[nn.Module] = []
        for index, (fan_in, fan_out) in enumerate(zip(sizes, sizes[1:], strict=False)):
            fan_in = fan_in * (1 + num_below) if index == 1 else fan_in
            layers += [nn.Linear(fan_in, fan_out), nn.LeakyReLU(0.2)]
        self.hidden = nn.Sequential(*layers)
        self.head = nn.Linear(width, num_blocks * 2 * channels)
        if init == "he":
            for layer in self.hidden:
                if isinstance(layer, nn.Linear):
                    nn.init.kaiming_normal_(layer.weight, a=0.2)
                    nn.init.zeros_(layer.bias)

    def forward(self, style: Tensor) -> tuple[Tensor, Tensor]:
        """Return the scales and the offsets, each (N, K, C), for styles (N, D)."""
        return self.modulation(self.mapped(style))

    def mapped(self, style: Tensor, below: Sequence[Tensor] = ()) -> Tensor:
        """Return the last hidden layer (N, width) for styles (N, D) and the same layer of each level below."""
        if not below:
            return self.hidden(style)
        first = self.hidden[:2](style)  # a dense layer and its LeakyReLU
        return self.hidden[2:](torch.cat([first, *below], dim=1))

    def modulation(self, mapped: Tensor) -> tuple[Tensor, Tensor]:
        """Return the scales and the offsets, each (N, K, C), for the last hidden layer (N, width)."""
        out = self.head(mapped).view(-1, self.num_blocks, 2, self.channels)  # (N, K, 2, C)
        return out[:, :, 0], out[:, :, 1]
