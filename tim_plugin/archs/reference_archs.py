"""References that need no method of their own: bicubic, and ESRGAN's network used as often as the scale asks for."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from tim_plugin.utils.resize import bicubic_resize


class BicubicUpsampler(nn.Module):
    """Antialiased bicubic resizing, which has nothing to learn.

    Args:
        scale: Factor of both sides; 1 gives the input itself.
    """

    def __init__(self, *, scale: int = 16) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, C, scale H, scale W) in [0, 1] of an LQ (N, C, H, W)."""
        if self.scale == 1:
            return x
        return bicubic_resize(x, tuple(side * self.scale for side in x.shape[-2:])).clamp(0, 1)


class RepeatedRRDBNet(nn.Module):
    """One RRDBNet applied again to its own output: ESRGAN 4x twice gives 16x.

    Args:
        times: How often.
        scale: Of one pass, 1, 2 or 4.
        num_in_ch: Channels of input and output.
        num_feat: Channels of the trunk.
        num_block: RRDBs.
        num_grow_ch: Growth channels.
    """

    def __init__(
        self,
        *,
        times: int = 2,
        scale: int = 4,
        num_in_ch: int = 3,
        num_feat: int = 64,
        num_block: int = 23,
        num_grow_ch: int = 32,
    ) -> None:
        from basicsr.archs.rrdbnet_arch import RRDBNet  # here: BasicSR's import registers this module's networks

        super().__init__()
        self.times = times
        self.network = RRDBNet(num_in_ch, num_in_ch, scale, num_feat, num_block, num_grow_ch)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, C, scale^times H, scale^times W), nominally in [0, 1], of an LQ (N, C, H, W) in [0, 1]."""
        for _ in range(self.times):
            x = self.network(x)
        return x

    def renamed(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return RRDBNet's own state dict (BasicSR's, Real-ESRGAN's) under this network's keys."""
        return {key if key.startswith("network.") else f"network.{key}": value for key, value in state.items()}
