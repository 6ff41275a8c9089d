"""Iizuka et al. (2016): local features fused with one global vector of the whole image, then a and b by regression.

Built from the paper's text. Its classification loss needs labels of places, which this package's data sets have not:
it is left out.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tim_plugin.archs.heads import AB_MAX, at_multiples, with_lightness
from tim_plugin.utils.color import rgb_to_lab

_REDUCTION = 8


class Iizuka2016(nn.Module):
    """Low-level, mid-level and global features, fused at an eighth of the size; a decoder gives a and b.

    Args:
        width: Channels of the first convolution; 64 as published, the others in proportion.
        global_px: Side to which the image is resized for its global features.
    """

    def __init__(self, *, width: int = 64, global_px: int = 224) -> None:
        super().__init__()
        self.global_px = global_px
        w = width
        self.low = nn.Sequential(
            _conv(1, w, 2),
            _conv(w, 2 * w),
            _conv(2 * w, 2 * w, 2),
            _conv(2 * w, 4 * w),
            _conv(4 * w, 4 * w, 2),
            _conv(4 * w, 8 * w),
        )
        self.mid = nn.Sequential(_conv(8 * w, 8 * w), _conv(8 * w, 4 * w))
        self.whole = nn.Sequential(*(_conv(8 * w, 8 * w, stride) for stride in (2, 1, 2, 1)))
        flat = 8 * w * (-(-global_px // (_REDUCTION * 4))) ** 2
        self.dense = nn.Sequential(_dense(flat, 16 * w), _dense(16 * w, 8 * w), _dense(8 * w, 4 * w))
        self.fuse = nn.Sequential(nn.Conv2d(8 * w, 4 * w, 1), nn.ReLU(True))
        self.decoder = nn.ModuleList(
            [_conv(4 * w, 2 * w), nn.Sequential(_conv(2 * w, w), _conv(w, w)), _conv(w, w // 2)]
        )
        self.last = nn.Conv2d(w // 2, 2, 3, 1, 1)

    def ab(self, lq: Tensor) -> Tensor:
        """Return a and b in [0, 1], (N, 2, H, W), for lightness (N, 1, H, W) in [0, 1]; sides are multiples of 8."""
        size = (self.global_px, self.global_px)
        small = F.interpolate(lq, size, mode="bilinear", align_corners=False, antialias=True)
        vector = self.dense(self.whole(self.low(small)).flatten(1))
        local = self.mid(self.low(lq))
        out = self.fuse(torch.cat([local, vector[..., None, None].expand(-1, -1, *local.shape[-2:])], dim=1))
        for index, part in enumerate(self.decoder):
            out = part(out)
            if index < len(self.decoder) - 1:
                out = F.interpolate(out, scale_factor=2, mode="nearest")
        return F.interpolate(self.last(out).sigmoid(), scale_factor=2, mode="nearest")

    def forward(self, lq: Tensor) -> Tensor:
        """Return RGB (N, 3, H, W) for lightness (N, 1, H, W) in [0, 1]."""
        ab = at_multiples(self.ab, lq, _REDUCTION)
        return with_lightness((ab * 2 - 1) * AB_MAX, lq)

    def losses(self, lq: Tensor, gt: Tensor, distance: nn.Module | None = None) -> dict[str, Tensor]:
        """Return the mean squared error of a and b in [0, 1].

        Args:
            lq: (N, 1, H, W) in [0, 1].
            gt: (N, 3, H, W) in [0, 1].
            distance: Not used.
        """
        target = (rgb_to_lab(gt)[:, 1:] / AB_MAX + 1) / 2
        return {"l_ab": F.mse_loss(at_multiples(self.ab, lq, _REDUCTION), target)}


def _conv(in_channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, stride, 1), nn.BatchNorm2d(out_channels), nn.ReLU(True)
    )


def _dense(in_features: int, out_features: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(in_features, out_features), nn.BatchNorm1d(out_features), nn.ReLU(True))
