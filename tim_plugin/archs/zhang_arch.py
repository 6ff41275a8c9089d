"""Zhang et al. (2016): each position's distribution over 313 bins of the ab plane, from lightness alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tim_plugin.archs.colour_bins import annealed_mean, bin_centres, drawn, rebalancing, soft_targets
from tim_plugin.archs.heads import AB_MAX, at_multiples, with_lightness
from tim_plugin.utils.color import L_MAX, rgb_to_lab

_LAYERS = (2, 2, 3, 3, 3, 3, 3)  # convolutions of each block
_STRIDES = (2, 2, 2, 1, 1, 1, 1)  # of the last of them
_DILATIONS = (1, 1, 1, 1, 2, 2, 1)
_REDUCTION = 8  # of the trunk; the bins are given at half of that
_L_CENTRE = 50.0


class Zhang2016(nn.Module):
    """Eight blocks of convolutions, a softmax over bins at a quarter of the size, enlarged bilinearly.

    :meth:`forward` gives the annealed mean, one image; :meth:`sample` draws each position's bin from its marginal:
    the one-to-many baseline of the tables.

    Args:
        widths: Channels of the first four blocks; the later ones are as wide as the fourth.
        temperature: Of the annealed mean.
        rebalance: Weigh the loss by how rare a bin is in the training images that were seen so far.
    """

    def __init__(
        self, *, widths: Sequence[int] = (64, 128, 256, 512), temperature: float = 0.38, rebalance: bool = True
    ) -> None:
        super().__init__()
        self.temperature, self.rebalance = temperature, rebalance
        channels = [1, *widths, *[widths[-1]] * 3]
        self.blocks = nn.Sequential(
            *(_block(channels[k], channels[k + 1], _LAYERS[k], _STRIDES[k], _DILATIONS[k]) for k in range(7))
        )
        half = widths[-1] // 2
        self.register_buffer("centres", bin_centres().clone())
        self.register_buffer("counts", torch.zeros(len(self.centres)))
        self.top = nn.Sequential(
            nn.ConvTranspose2d(widths[-1], half, 4, 2, 1),
            nn.ReLU(True),
            nn.Conv2d(half, half, 3, 1, 1),
            nn.ReLU(True),
            nn.Conv2d(half, half, 3, 1, 1),
            nn.ReLU(True),
            nn.Conv2d(half, len(self.centres), 1),
        )

    def logits(self, lq: Tensor) -> Tensor:
        """Return (N, 313, H / 4, W / 4) for lightness (N, 1, H, W) in [0, 1]; sides are multiples of 8."""
        return self.top(self.blocks((lq * L_MAX - _L_CENTRE) / L_MAX))

    def forward(self, lq: Tensor) -> Tensor:
        """Return RGB (N, 3, H, W) by the annealed mean, for lightness (N, 1, H, W) in [0, 1]."""
        return self._enlarged(lq, lambda logits: annealed_mean(logits, self.centres, self.temperature))

    def sample(self, lq: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Return samples (n, 3, H, W), one for each generator, for one lightness (1, 1, H, W) in [0, 1]."""
        found = [self._enlarged(lq, lambda logits, g=one: drawn(logits, self.centres, g)) for one in generators]
        return torch.cat(found)

    def losses(self, lq: Tensor, gt: Tensor, distance: nn.Module | None = None) -> dict[str, Tensor]:
        """Return the cross-entropy with the GT's bins, rebalanced; counts the bins in training mode.

        Args:
            lq: (N, 1, H, W) in [0, 1].
            gt: (N, 3, H, W) in [0, 1].
            distance: Not used.
        """
        logits = self.logits(lq)
        ab = F.interpolate(rgb_to_lab(gt)[:, 1:], logits.shape[-2:], mode="area")
        targets = soft_targets(ab, self.centres)
        nearest = targets.argmax(dim=1)  # (N, H, W)
        if self.training:
            self.counts += torch.bincount(nearest.flatten(), minlength=len(self.centres))
        entropy = -(targets * F.log_softmax(logits, dim=1)).sum(dim=1)
        if self.rebalance:
            entropy = entropy * rebalancing(self.counts, self.centres)[nearest]
        return {"l_bins": entropy.mean()}

    def _enlarged(self, lq: Tensor, decode: Callable[[Tensor], Tensor]) -> Tensor:
        def network(padded: Tensor) -> Tensor:
            return F.interpolate(decode(self.logits(padded)), padded.shape[-2:], mode="bilinear", align_corners=False)

        return with_lightness(at_multiples(network, lq, _REDUCTION), lq)

    def renamed(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the public network's state dict under this network's keys; one of its own is returned as it is.

        ``modelK`` is ``blocks.K-1``, ``model8`` is ``top``; ``model_out.weight`` holds the bins' centres (over 110), in
        the public weights' order; the counts are its training's and not public: they are left at zero.
        """
        if "model_out.weight" not in state:
            return dict(state)
        ours: dict[str, Tensor] = {"counts": torch.zeros(len(self.centres))}
        for key, value in state.items():
            if key == "model_out.weight":
                ours["centres"] = value.flatten(1).T * AB_MAX
            else:
                block = re.sub(r"^model(\d)\.", lambda found: f"blocks.{int(found[1]) - 1}.", key)
                ours[re.sub(r"^blocks\.7\.", "top.", block)] = value
        return ours


def _block(in_channels: int, channels: int, layers: int, stride: int, dilation: int) -> nn.Sequential:
    parts: list[nn.Module] = []
    for index in range(layers):
        step = stride if index == layers - 1 else 1
        conv = nn.Conv2d(in_channels if index == 0 else channels, channels, 3, step, dilation, dilation)
        parts += [conv, nn.ReLU(True)]
    return nn.Sequential(*parts, nn.BatchNorm2d(channels))
