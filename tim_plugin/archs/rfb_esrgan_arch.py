"""RFB-ESRGAN (Shang et al. 2020, winner of NTIRE 2020's 16x challenge): RRDBs whose convolutions see several scales."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tim_plugin.utils.errors import TimError

# Public keys and what they are here; patterns of whole parts.
_PUBLIC_NAMES = (
    (r"^RRDB_trunk_rfb\.", "rfb_body."),
    (r"^RRDB_trunk\.", "body."),
    (r"^trunk_conv\.", "trunk."),
    (r"^upsampler2\.0\.", "expand.0."),
    (r"^upsampler4\.0\.", "expand.1."),
    (r"^HRconv\.", "conv_hr."),
    (r"\.RDB(\d)\.", r".rdb\1."),
    (r"ConvLinear\.conv\.", "join."),
    (r"shortcut\.conv\.", "shortcut."),
)


class RFBESRGAN(nn.Module):
    """RRDBs, then RRDBs of receptive field blocks, then nearest and sub-pixel up-sampling by turns.

    BasicSR's SRModel trains it as a regression, its ESRGANModel as a GAN. The residual scale is 1 throughout, as in the
    public network, and not ESRGAN's 0.2.

    Args:
        num_in_ch: Channels of the LQ.
        num_out_ch: Channels of the image.
        num_feat: Channels of the trunk; a multiple of 16.
        num_block: RRDBs.
        num_rfb_block: RRDBs of receptive field blocks.
        num_grow_ch: Growth channels of both; a multiple of 16.
        num_up: Doublings of the size.

    Raises:
        TimError: A number of channels does not divide into the blocks' branches.
    """

    def __init__(
        self,
        *,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
        num_feat: int = 64,
        num_block: int = 15,
        num_rfb_block: int = 8,
        num_grow_ch: int = 32,
        num_up: int = 4,
    ) -> None:
        super().__init__()
        for name, value in (("num_feat", num_feat), ("num_grow_ch", num_grow_ch)):
            if value % 16:
                raise TimError(f"network_g: {name} {value} must be a multiple of 16, for the branches' channels")
        self.conv_first = nn.Conv2d(num_in_ch, num_feat, 3, 1, 1)
        self.body = nn.Sequential(*(_Residual(num_feat, num_grow_ch, _small_conv) for _ in range(num_block)))
        self.rfb_body = nn.Sequential(
            *(_Residual(num_feat, num_grow_ch, _ReceptiveFieldBlock) for _ in range(num_rfb_block))
        )
        self.trunk = _ReceptiveFieldBlock(num_feat, num_feat)
        self.upconvs = nn.ModuleList(_ReceptiveFieldBlock(num_feat, num_feat) for _ in range(num_up))
        self.expand = nn.ModuleList(_ReceptiveFieldBlock(num_feat, 4 * num_feat) for _ in range(num_up // 2))
        self.conv_hr = nn.Conv2d(num_feat, num_feat, 3, 1, 1)
        self.conv_last = nn.Conv2d(num_feat, num_out_ch, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, C, 2^num_up H, 2^num_up W), nominally in [0, 1], for an LQ (N, C, H, W) in [0, 1]."""
        first = self.conv_first(x)
        out = first + self.trunk(self.rfb_body(self.body(first)))
        for index, conv in enumerate(self.upconvs):
            if index % 2 == 0:
                out = F.interpolate(out, scale_factor=2, mode="nearest")
            else:
                out = F.pixel_shuffle(self.expand[index // 2](out), 2)
            out = F.leaky_relu(conv(out), 0.2)
        return self.conv_last(F.leaky_relu(self.conv_hr(out), 0.2))

    def renamed(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the public network's state dict under this network's keys; one of its own is returned as it is.

        ``RRDB_trunk.K.RDBi.convj`` is ``body.K.rdbi.convj``; ``RRDB_trunk_rfb`` is ``rfb_body``; ``trunk_conv`` is
        ``trunk``; ``upconvK`` is ``upconvs.K-1``; ``upsampler2.0`` and ``upsampler4.0`` are ``expand.0`` and ``.1``;
        ``HRconv`` is ``conv_hr``; in a receptive field block ``branchB.J.conv`` is ``branches.B.2J`` and
        ``ConvLinear.conv`` is ``join``.
        """
        if not any(key.startswith("RRDB_trunk") for key in state):
            return dict(state)
        return {_renamed(key): value for key, value in state.items()}


def _renamed(key: str) -> str:
    for pattern, ours in _PUBLIC_NAMES:
        key = re.sub(pattern, ours, key)
    key = re.sub(r"^upconv(\d)\.", lambda found: f"upconvs.{int(found[1]) - 1}.", key)
    return re.sub(r"branch(\d)\.(\d)\.conv\.", lambda found: f"branches.{found[1]}.{2 * int(found[2])}.", key)


class _ReceptiveFieldBlock(nn.Module):
    """Four branches of a quarter of the channels with growing receptive fields, joined, and a shortcut; no bias."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        quarter, eighth, three = in_channels // 4, in_channels // 8, 3 * in_channels // 16
        self.branches = nn.ModuleList(
            [
                _chain(_conv(in_channels, quarter, 1), _conv(quarter, quarter, 3)),
                _chain(_conv(in_channels, quarter, 1), _conv(quarter, quarter, (3, 1)), _conv(quarter, quarter, 3, 3)),
                _chain(_conv(in_channels, quarter, 1), _conv(quarter, quarter, (1, 3)), _conv(quarter, quarter, 3, 3)),
                _chain(
                    _conv(in_channels, eighth, 1),
                    _conv(eighth, three, (1, 3)),
                    _conv(three, quarter, (3, 1)),
                    _conv(quarter, quarter, 3, 5),
                ),
            ]
        )
        self.join = _conv(4 * quarter, out_channels, 1)
        self.shortcut = _conv(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, D, H, W) of (N, C, H, W)."""
        return self.join(torch.cat([branch(x) for branch in self.branches], dim=1)) + self.shortcut(x)


class _DenseBlock(nn.Module):
    def __init__(self, num_feat: int, num_grow_ch: int, conv: Callable[[int, int], nn.Module]) -> None:
        super().__init__()
        for index in range(5):
            out = num_feat if index == 4 else num_grow_ch
            setattr(self, f"conv{index + 1}", conv(num_feat + index * num_grow_ch, out))

    def forward(self, x: Tensor) -> Tensor:
        features = [x]
        for index in range(4):
            features.append(F.leaky_relu(getattr(self, f"conv{index + 1}")(torch.cat(features, dim=1)), 0.2))
        return self.conv5(torch.cat(features, dim=1)) + x


class _Residual(nn.Module):
    """Three dense blocks inside a shortcut, ESRGAN's RRDB with residual scale 1."""

    def __init__(self, num_feat: int, num_grow_ch: int, conv: Callable[[int, int], nn.Module]) -> None:
        super().__init__()
        self.rdb1, self.rdb2, self.rdb3 = (_DenseBlock(num_feat, num_grow_ch, conv) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.rdb3(self.rdb2(self.rdb1(x))) + x


def _small_conv(in_channels: int, out_channels: int) -> nn.Conv2d:
    """A 3x3 convolution with a tenth of He's initialisation: what keeps a trunk with residual scale 1 stable."""
    conv = nn.Conv2d(in_channels, out_channels, 3, 1, 1)
    nn.init.kaiming_normal_(conv.weight)
    nn.init.zeros_(conv.bias)
    conv.weight.data.mul_(0.1)
    return conv


def _conv(in_channels: int, out_channels: int, kernel: int | tuple[int, int], dilation: int = 1) -> nn.Conv2d:
    sides = (kernel, kernel) if isinstance(kernel, int) else kernel
    padding = tuple(dilation * (side // 2) for side in sides)
    return nn.Conv2d(in_channels, out_channels, sides, 1, padding, dilation, bias=False)


def _chain(*convolutions: nn.Module) -> nn.Sequential:
    """Convolutions with ReLU between them."""
    layers: list[nn.Module] = []
    for conv in convolutions:
        layers += [conv, nn.ReLU(inplace=True)]
    return nn.Sequential(*layers[:-1])
