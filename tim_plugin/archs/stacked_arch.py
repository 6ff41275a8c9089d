"""The compared system's own generator: stacks of plain convolutions (Li et al. 2020, conditional IMLE; public as SRIM).

Built from the published description, so that TIMModel trains it as it trains a tower.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from tim_plugin.archs.heads import AB_MAX, at_least_single, with_lightness
from tim_plugin.archs.levels import all_levels
from tim_plugin.degradations.table import build_for_tower
from tim_plugin.imle.latents import Latents, LevelLatent, LevelShape
from tim_plugin.imle.types import Condition
from tim_plugin.options.plain_checks import require_choice
from tim_plugin.options.tower_spec import PLACEMENTS
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.precision import full_precision

_KERNEL = 5
_HIDDEN = 7  # convolutions between the first and the last of a stack


@dataclass(frozen=True)
class StackSpec:
    """What training and sampling read of a tower's ``spec`` (:class:`tim_plugin.options.tower_spec.TowerSpec`).

    Attributes:
        num_levels: Levels of the generator.
        placement: ``upsample`` or ``same``.
        scale: Size of the images over the size of the LQ.
        gt_multiple: Sides of a GT must be multiples of this.
        condition_every_level: Whether every level reads the LQ anew.
        consistency: ``off``: nothing is projected.
    """

    num_levels: int
    placement: str
    scale: int
    gt_multiple: int
    condition_every_level: bool = False
    consistency: str = "off"


class StackState(NamedTuple):
    """What a stack hands to the next: its ``image`` (N, C, H, W) and the ``lq`` (N, C, h, w)."""

    image: Tensor
    lq: Tensor


class StackedGenerator(nn.Module):
    """Stacks of nine 5x5 convolutions with weight norm; each reads its noise, the image so far and the enlarged LQ.

    With placement ``upsample`` each stack is a level that doubles the size, four for 16x. With ``same`` all stacks work
    one after the other at the LQ's size and are one level: our adaptation to tasks that keep the size.

    Args:
        num_in_ch: Channels of the LQ.
        num_out_ch: Channels of the images.
        num_stacks: How many.
        width: Channels between convolutions.
        code_channels: Channels of each stack's noise.
        placement: ``upsample`` or ``same``.
        head: ``rgb``: sigmoid; ``ab``: a and b of Lab, joined to the LQ, which is L / 100.
        degradation: What made the LQ: a name, or a section with ``type`` and its own keys.

    Raises:
        TimError: A value is none of the choices.
    """

    def __init__(
        self,
        *,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
        num_stacks: int = 4,
        width: int = 64,
        code_channels: int = 5,
        placement: str = "upsample",
        head: str = "rgb",
        degradation: str | Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        require_choice("network_g: placement", placement, PLACEMENTS)
        require_choice("network_g: head", head, ("rgb", "ab"))
        if head == "ab" and (placement, num_in_ch, num_out_ch) != ("same", 1, 3):
            raise TimError("network_g: head 'ab' needs placement: same, num_in_ch: 1 and num_out_ch: 3")
        enlarges = placement == "upsample"
        scale = 2**num_stacks if enlarges else 1
        self.spec = StackSpec(num_stacks if enlarges else 1, placement, scale, scale)
        self.head, self.code_channels = head, code_channels
        section = degradation or ("bicubic" if enlarges else "unknown")
        self.degradation = build_for_tower(section, scale, num_in_ch, num_out_ch)
        out = 2 if head == "ab" else num_out_ch
        read = [num_in_ch, *[num_out_ch] * (num_stacks - 1)]
        self.stacks = nn.ModuleList(Stack(code_channels + channels, num_in_ch, out, width) for channels in read)

    def forward(self, conditions: Sequence[Condition], latents: Latents) -> list[Tensor]:
        """Return the image (N, C, H, W) of each level, coarse to fine, in [0, 1], for each level's inputs."""
        return all_levels(self, conditions, latents)

    def forward_level(
        self, level: int, condition: Condition, latent: LevelLatent, state: StackState | None = None
    ) -> tuple[Tensor, StackState]:
        """Return a level's image (N, C, H, W), in [0, 1], and the state for the next level."""
        lq = condition.image if state is None else state.lq
        image = lq if state is None else state.image
        if self.spec.placement == "upsample":
            image = _resized(image, [2 * side for side in image.shape[-2:]])
            image = self._image(self.stacks[level](image, latent.noise, _resized(lq, image.shape[-2:])), lq)
        else:
            for stack, noise in zip(self.stacks, latent.noise.split(self.code_channels, dim=1), strict=True):
                image = self._image(stack(image, noise, lq), lq)
        return image, StackState(image, lq)

    def _image(self, raw: Tensor, lq: Tensor) -> Tensor:
        raw = at_least_single(raw)
        with full_precision(raw.device):
            return raw.sigmoid() if self.head == "rgb" else with_lightness(raw.tanh() * AB_MAX, lq)

    def latent_shapes(self, height: int, width: int) -> list[LevelShape]:
        """Return the shapes of the noise for an LQ of ``height`` x ``width`` pixels; there are no style vectors."""
        if self.spec.placement == "same":
            return [LevelShape((self.code_channels * len(self.stacks), height, width), (0,))]
        sizes = [2 ** (k + 1) for k in range(len(self.stacks))]
        return [LevelShape((self.code_channels, height * size, width * size), (0,)) for size in sizes]


class Stack(nn.Module):
    """Nine convolutions; those between first and last also read the enlarged LQ."""

    def __init__(self, first_channels: int, lq_channels: int, out_channels: int, width: int) -> None:
        super().__init__()
        sizes = [first_channels, *[width + lq_channels] * _HIDDEN]
        self.hidden = nn.ModuleList(_conv(size, width) for size in sizes)
        self.last = _conv(width, out_channels)

    def forward(self, image: Tensor, noise: Tensor, lq: Tensor) -> Tensor:
        """Return raw values (N, C, H, W) of an image, noise and an LQ, all at this size."""
        out = torch.cat([noise, image], dim=1)
        for index, conv in enumerate(self.hidden):
            out = F.leaky_relu(conv(out if index == 0 else torch.cat([out, lq], dim=1)), 0.2)
        return self.last(out)


def _conv(in_channels: int, out_channels: int) -> nn.Module:
    return weight_norm(nn.Conv2d(in_channels, out_channels, _KERNEL, 1, _KERNEL // 2))


def _resized(images: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(images, tuple(size), mode="bilinear", align_corners=False)
