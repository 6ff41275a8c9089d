"""A small U-Net of residual blocks, which may also read a time: the compared networks are made of it.

As in diffusion models (Ho et al. 2020; Dhariwal and Nichol 2021), without attention: group norm, SiLU and a convolution
twice a block, the time as a scale and an offset of the second norm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tim_plugin.archs.heads import at_multiples

_FREQUENCIES = 16  # of the time, from 1 to _FASTEST radians
_FASTEST = 100.0
_GROUPS = 8


class UNet(nn.Module):
    """One block a size on the way down, two at the smallest size, one a size on the way up.

    Args:
        in_channels: Of the maps that are read.
        out_channels: Of what is written; zero before training.
        widths: Channels at each size, from the largest down.
        is_timed: Whether a time is read too.
    """

    def __init__(self, in_channels: int, out_channels: int, widths: Sequence[int], *, is_timed: bool = False) -> None:
        super().__init__()
        embedded = 4 * widths[0] if is_timed else 0
        self.time = _time_layers(embedded) if is_timed else None
        self.register_buffer("frequencies", torch.linspace(0, math.log(_FASTEST), _FREQUENCIES).exp(), persistent=False)
        self.first = nn.Conv2d(in_channels, widths[0], 3, 1, 1)
        above = [widths[0], *widths[:-1]]
        self.down = nn.ModuleList(Block(*sizes, embedded) for sizes in zip(above, widths, strict=True))
        self.middle = Block(widths[-1], widths[-1], embedded)
        pairs = list(zip(widths[:-1], widths[1:], strict=True))
        self.up = nn.ModuleList(Block(own + below, own, embedded) for own, below in reversed(pairs))
        self.norm = _norm(widths[0])
        self.last = nn.Conv2d(widths[0], out_channels, 3, 1, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, maps: Tensor, time: Tensor | None = None) -> Tensor:
        """Return (N, out_channels, H, W) of maps (N, in_channels, H, W) of any size, and a time (N,) if one is read."""
        embedded = None if time is None else self.time(self._waves(time))
        return at_multiples(partial(self._run, embedded), maps, 2 ** (len(self.down) - 1))

    def _waves(self, time: Tensor) -> Tensor:
        angles = time[:, None].to(self.frequencies) * self.frequencies
        return torch.cat([angles.cos(), angles.sin()], dim=1)  # (N, 2 * _FREQUENCIES)

    def _run(self, embedded: Tensor | None, maps: Tensor) -> Tensor:
        out, seen = self.first(maps), []
        for index, block in enumerate(self.down):
            out = block(F.avg_pool2d(out, 2) if index else out, embedded)
            seen.append(out)
        out = self.middle(out, embedded)
        for block, beside in zip(self.up, reversed(seen[:-1]), strict=True):
            out = block(torch.cat([F.interpolate(out, scale_factor=2, mode="nearest"), beside], dim=1), embedded)
        return self.last(F.silu(self.norm(out)))


class Block(nn.Module):
    """Norm, SiLU, convolution, twice, and a shortcut; the time scales and shifts the second norm.

    Args:
        in_channels: Of what is read.
        channels: Of what is written.
        embedded: Length of the time's embedding; 0 for none.
    """

    def __init__(self, in_channels: int, channels: int, embedded: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = _norm(in_channels), nn.Conv2d(in_channels, channels, 3, 1, 1)
        self.norm2, self.conv2 = _norm(channels), nn.Conv2d(channels, channels, 3, 1, 1)
        self.shortcut = nn.Identity() if in_channels == channels else nn.Conv2d(in_channels, channels, 1)
        self.modulation = nn.Linear(embedded, 2 * channels) if embedded else None

    def forward(self, maps: Tensor, embedded: Tensor | None) -> Tensor:
        """Return (N, channels, H, W) of (N, in_channels, H, W) and the time's embedding (N, embedded)."""
        out = self.norm2(self.conv1(F.silu(self.norm1(maps))))
        if embedded is not None:
            scale, offset = self.modulation(embedded)[..., None, None].chunk(2, dim=1)  # (N, C, 1, 1)
            out = out * (1 + scale) + offset
        return self.shortcut(maps) + self.conv2(F.silu(out))


def _norm(channels: int) -> nn.GroupNorm:
    """Group norm; a group has two channels or more, since one position of one channel is its own mean."""
    groups = math.gcd(_GROUPS, channels)
    return nn.GroupNorm(groups if channels > groups else max(groups // 2, 1), channels)


def _time_layers(embedded: int) -> nn.Sequential:
    layers = (nn.Linear(2 * _FREQUENCIES, embedded), nn.SiLU(), nn.Linear(embedded, embedded), nn.SiLU())
    return nn.Sequential(*layers)
