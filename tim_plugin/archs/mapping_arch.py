"""Mapping network: dense layers from a style vector to scales and offsets (paper, section 4.3; after StyleGAN)."""

from __future__ import annotations

from torch import Tensor, nn

from tim_plugin.errors import TimError, did_you_mean
from tim_plugin.options import MAPPING_INITS


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
    ) -> None:
        super().__init__()
        if init not in MAPPING_INITS:
            raise TimError(f"MappingNetwork: init {init!r} is not known: {did_you_mean(str(init), MAPPING_INITS)}")
        self.num_blocks, self.channels = num_blocks, channels
        sizes = [style_dim] + [width] * num_layers
        layers: list[nn.Module] = []
        for fan_in, fan_out in zip(sizes, sizes[1:], strict=False):
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
        out = self.head(self.hidden(style)).view(-1, self.num_blocks, 2, self.channels)  # (N, K, 2, C)
        return out[:, :, 0], out[:, :, 1]
