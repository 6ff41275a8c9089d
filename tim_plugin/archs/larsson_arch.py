"""Larsson et al. (2016): hypercolumns of a VGG-like network, from which each position's hue and chroma are predicted.

Built from the paper's text. Hue and chroma are those of Lab's ab plane (angle and length), so that the given lightness
is kept; the authors' are of another cylindrical space.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tim_plugin.archs.heads import AB_MAX, at_multiples, with_lightness
from tim_plugin.utils.color import rgb_to_lab

_LAYERS = (2, 2, 3, 3, 3)  # convolutions of VGG16's stages
_WINDOW = 7  # side of the neighbourhood whose histogram is the target
_ROWS_AT_ONCE = 4096  # positions decoded at a time
_TINY = 1e-8


class Larsson2016(nn.Module):
    """A convolutional trunk, its maps sampled bilinearly at positions, one hidden layer, two histograms.

    In training the loss is taken at random positions of each image; :meth:`forward` decodes every one: hue as the angle
    of the histogram's mean direction, chroma as its median.

    Args:
        stage_channels: Of the five stages; VGG16's as published.
        fc_channels: Of the two convolutions that stand for VGG16's dense layers; 4096 as published.
        fc_kernel: Side of the first of them.
        hidden: Width of the layer over hypercolumns.
        bins: Of each histogram.
        points: Positions an image in training.
        dropout: Over the hidden layer.
    """

    def __init__(
        self,
        *,
        stage_channels: Sequence[int] = (64, 128, 256, 512, 512),
        fc_channels: int = 4096,
        fc_kernel: int = 7,
        hidden: int = 1024,
        bins: int = 32,
        points: int = 128,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.bins, self.points = bins, points
        sizes = [1, *stage_channels]
        self.stages = nn.ModuleList(
            nn.ModuleList(_conv(sizes[k] if index == 0 else sizes[k + 1], sizes[k + 1]) for index in range(count))
            for k, count in enumerate(_LAYERS)
        )
        self.fc = nn.ModuleList([_conv(sizes[-1], fc_channels, fc_kernel), _conv(fc_channels, fc_channels, 1)])
        column = 1 + sum(size * count for size, count in zip(stage_channels, _LAYERS, strict=True)) + 2 * fc_channels
        self.hidden = nn.Sequential(nn.Linear(column, hidden), nn.ReLU(True), nn.Dropout(dropout))
        self.hue, self.chroma = nn.Linear(hidden, bins), nn.Linear(hidden, bins)
        self.reduction = 2 ** len(_LAYERS)

    def maps(self, lq: Tensor) -> list[Tensor]:
        """Return the maps that make a hypercolumn, for lightness (N, 1, H, W) in [0, 1]; sides are multiples of 32."""
        out = lq - 0.5
        found = [out]
        for stage in self.stages:
            for conv in stage:
                out = conv(out)
                found.append(out)
            out = F.max_pool2d(out, 2)
        for conv in self.fc:
            out = conv(out)
            found.append(out)
        return found

    def histograms(self, maps: Sequence[Tensor], places: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits of hue and chroma, (N, P, bins) each, at places (N, P, 2): x and y in [-1, 1]."""
        columns = [
            F.grid_sample(one, places[:, :, None], mode="bilinear", padding_mode="border", align_corners=False)
            for one in maps
        ]
        hidden = self.hidden(torch.cat(columns, dim=1)[..., 0].transpose(1, 2))  # (N, P, D)
        return self.hue(hidden), self.chroma(hidden)

    def forward(self, lq: Tensor) -> Tensor:
        """Return RGB (N, 3, H, W) for lightness (N, 1, H, W) in [0, 1]."""
        return with_lightness(at_multiples(self._decoded, lq, self.reduction), lq)

    def _decoded(self, lq: Tensor) -> Tensor:
        maps, (height, width) = self.maps(lq), lq.shape[-2:]
        parts = []
        for places in _grid(height, width, lq).split(_ROWS_AT_ONCE):
            hue, chroma = self.histograms(maps, places.expand(len(lq), -1, -1))
            parts.append(self._colours(hue, chroma))
        return torch.cat(parts, dim=1).transpose(1, 2).unflatten(2, (height, width))

    def _colours(self, hue: Tensor, chroma: Tensor) -> Tensor:
        """(N, P, 2) a and b of two histograms' logits."""
        angles = (torch.arange(self.bins, device=hue.device) + 0.5) * (2 * math.pi / self.bins)
        share = hue.softmax(dim=-1)
        mean_sin, mean_cos = share @ angles.sin(), share @ angles.cos()
        cumulative = chroma.softmax(dim=-1).cumsum(dim=-1)
        median = (cumulative < 0.5).sum(dim=-1).clamp(max=self.bins - 1)
        length = torch.where(median == 0, 0.0, (median + 0.5) * (AB_MAX / self.bins))
        angle = torch.atan2(mean_sin, mean_cos)
        return torch.stack([length * angle.cos(), length * angle.sin()], dim=-1)

    def losses(
        self,
        lq: Tensor,
        gt: Tensor,
        distance: nn.Module | None = None,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """Return KL divergences of the histograms from those of a 7x7 window: five times hue, and chroma.

        Args:
            lq: (N, 1, H, W) in [0, 1], sides multiples of 32.
            gt: (N, 3, H, W) in [0, 1].
            distance: Not used.
            generator: Draws the positions and what is dropped, on its own device; None takes the global one.
        """
        height, width = lq.shape[-2:]
        device = lq.device if generator is None else generator.device
        index = torch.randint(height * width, (len(lq), self.points), generator=generator, device=device).to(lq.device)
        maps = self.maps(lq)
        with _seeded(generator, lq.device):
            hue, chroma = self.histograms(maps, _grid(height, width, lq)[index])
        target_hue, target_chroma, weight = self._targets(rgb_to_lab(gt)[:, 1:], index)
        return {
            "l_hue": 5 * (weight * _divergence(target_hue, hue)).mean(),
            "l_chroma": _divergence(target_chroma, chroma).mean(),
        }

    def _targets(self, ab: Tensor, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Histograms (N, P, bins) of hue and chroma around the positions, and the chroma (N, P) that weighs hue's."""
        length = ab.square().sum(dim=1).sqrt()  # (N, H, W)
        turn = torch.atan2(ab[:, 1], ab[:, 0]) % (2 * math.pi)
        hue_bin = (turn * (self.bins / (2 * math.pi))).long().clamp(max=self.bins - 1)
        chroma_bin = (length * (self.bins / AB_MAX)).long().clamp(max=self.bins - 1)
        hue = self._local(F.one_hot(hue_bin, self.bins) * length[..., None], index)
        chroma = self._local(F.one_hot(chroma_bin, self.bins).float(), index)
        weight = (length / AB_MAX).flatten(1).gather(1, index)
        uniform = torch.full_like(hue, 1 / self.bins)
        total = hue.sum(dim=-1, keepdim=True)
        hue = torch.where(total > _TINY, hue / total.clamp_min(_TINY), uniform)  # grey has no hue
        return hue, chroma / chroma.sum(dim=-1, keepdim=True), weight

    def _local(self, values: Tensor, index: Tensor) -> Tensor:
        mean = F.avg_pool2d(values.movedim(-1, 1), _WINDOW, 1, _WINDOW // 2, count_include_pad=False)
        return mean.flatten(2).transpose(1, 2).gather(1, index[..., None].expand(-1, -1, self.bins))


def _divergence(target: Tensor, logits: Tensor) -> Tensor:
    """KL divergence (N, P) of distributions from softmaxes."""
    return (target * (target.clamp_min(_TINY).log() - logits.log_softmax(dim=-1))).sum(dim=-1)


def _grid(height: int, width: int, like: Tensor) -> Tensor:
    """(H W, 2) x and y of pixel centres in [-1, 1], row by row."""
    y, x = (
        ((torch.arange(side, device=like.device, dtype=like.dtype) + 0.5) * 2 / side - 1) for side in (height, width)
    )
    return torch.stack([x.repeat(height), y.repeat_interleave(width)], dim=-1)


def _conv(in_channels: int, out_channels: int, kernel: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, 1, kernel // 2), nn.BatchNorm2d(out_channels), nn.ReLU(True)
    )


@contextmanager
def _seeded(generator: torch.Generator | None, device: torch.device) -> Iterator[None]:
    """Let dropout, which knows the global generator alone, draw by another one, and put the global one back."""
    if generator is None:
        yield
        return
    seed = torch.randint(2**62, (), generator=generator, device=generator.device).item()
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
