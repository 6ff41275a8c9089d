"""The tower generator: one module a level, each at twice the resolution of the one below (paper, sections 4.1 and 4.3).

Differences from the paper's text, after its published code: where the tower enlarges, a level above the first reads
the level below and not the resized input (``condition_every_level`` adds it); the image leaves through tanh, moved to
[0, 1].
RRDB is BasicSR's own, ``basicsr.archs.rrdbnet_arch.RRDB``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from basicsr.archs.rrdbnet_arch import RRDB
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm as apply_weight_norm

from tim_plugin.archs.heads import AB_MAX, with_lightness
from tim_plugin.archs.levels import all_levels
from tim_plugin.archs.mapping_arch import MappingNetwork
from tim_plugin.archs.wrapped_tower import full_precision
from tim_plugin.degradations.table import build_for_tower
from tim_plugin.imle.latents import Latents, LevelLatent, LevelShape
from tim_plugin.imle.types import Condition
from tim_plugin.options.specs import LevelSpec, TowerSpec


class TowerState(NamedTuple):
    """What a level hands to the next one.

    Attributes:
        image: (N, C, H, W).
        features: (N, D, H, W).
        mapped: The last hidden layer (N, width) of each mapping network so far, where the next one reads them.
    """

    image: Tensor
    features: Tensor
    mapped: tuple[Tensor, ...] = ()


class TowerGenerator(nn.Module):
    """Map a condition pyramid and latents to one image a level, coarse to fine.

    The defaults are the published network that enlarges 16 times (209 M parameters). Every argument is a key of
    ``network_g`` in an option file; a list has one entry a level, a single number stands for all.

    Args:
        num_in_ch: Channels of the condition.
        num_out_ch: Channels of the images.
        num_levels: Number L of modules.
        trunk_channels: Channels of each level's trunk.
        growth_channels: Growth channels of each level's RRDBs.
        num_blocks: RRDBs a level.
        noise_channels: Channels of each level's noise map.
        style_dim: Length of each level's style vector.
        mapping_width: Width of the mapping networks.
        mapping_layers: Hidden layers of the mapping networks.
        mapping_init: Their initialisation, see :class:`tim_plugin.archs.mapping_arch.MappingNetwork`.
        feature_scale: Fraction of the features that a level hands on; 0 hands on the image only.
        placement: ``upsample``: level k reads at r_k and writes at 2 r_k; ``same``: it reads and writes at r_k.
        condition_every_level: Where the tower enlarges, feed the enlarged LQ to the levels above the first too.
        head: ``rgb``: tanh moved to [0, 1]; ``ab``: a and b of Lab, joined to the lightness that the level reads.
        degradation: What made the LQ: a name, or a section with ``type`` and its own keys; by default ``bicubic`` where
            the tower enlarges and ``unknown`` where it does not. It says how an LQ is read, shrunk and projected.
        consistency: ``project`` replaces each level's image by the nearest one that agrees with the LQ, where that is
            known for the level.
        mapping: Modulate each RRDB's output by the mapping network.
        mapping_sees_below: Each level's mapping network also reads those of the levels below (CHIMLE).
        normalise: Instance norm (without parameters) before the modulation.
        weight_norm: Weight normalisation on every convolution.

    Raises:
        TimError: Arguments that do not fit together (see :class:`tim_plugin.options.specs.TowerSpec`).
    """

    def __init__(
        self,
        *,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
        num_levels: int = 4,
        trunk_channels: int | Sequence[int] = (128, 64, 64, 64),
        growth_channels: int | Sequence[int] = (256, 192, 128, 64),
        num_blocks: int = 6,
        noise_channels: int = 5,
        style_dim: int = 128,
        mapping_width: int = 512,
        mapping_layers: int = 8,
        mapping_init: str = "pytorch",
        feature_scale: float = 0.1,
        placement: str = "upsample",
        condition_every_level: bool = False,
        head: str = "rgb",
        degradation: str | Mapping[str, Any] | None = None,
        consistency: str = "off",
        mapping: bool = True,
        mapping_sees_below: bool = False,
        normalise: bool = True,
        weight_norm: bool = True,
    ) -> None:
        super().__init__()
        self.spec = TowerSpec(
            num_in_ch=num_in_ch,
            num_out_ch=num_out_ch,
            num_levels=num_levels,
            trunk_channels=trunk_channels,
            growth_channels=growth_channels,
            num_blocks=num_blocks,
            noise_channels=noise_channels,
            style_dim=style_dim,
            mapping_width=mapping_width,
            mapping_layers=mapping_layers,
            mapping_init=mapping_init,
            feature_scale=feature_scale,
            placement=placement,
            condition_every_level=condition_every_level,
            head=head,
            degradation=degradation,
            consistency=consistency,
            mapping=mapping,
            mapping_sees_below=mapping_sees_below,
            normalise=normalise,
            weight_norm=weight_norm,
        )
        self.degradation = build_for_tower(self.spec.degradation, self.spec.scale, num_in_ch, num_out_ch)
        self.levels = nn.ModuleList(TowerLevel(*level, self.spec) for level in enumerate(self.spec.levels))
        initialise(self)
        if weight_norm:
            normalise_convolutions(self)

    def forward(self, conditions: Sequence[Condition], latents: Latents) -> list[Tensor]:
        """Run all levels.

        Args:
            conditions: One a level, from :func:`tim_plugin.imle.pyramid.condition_pyramid`.
            latents: Of shapes :meth:`latent_shapes`.

        Returns:
            L images (N, C, H, W), coarse to fine, nominally in [0, 1]; the projection may leave the range slightly.
        """
        return all_levels(self, conditions, latents)

    def forward_level(
        self, level: int, condition: Condition, latent: LevelLatent, state: TowerState | None = None
    ) -> tuple[Tensor, TowerState]:
        """Run one level, so that a search runs each level once.

        Args:
            level: Index from 0, the coarsest.
            condition: The level's entry of the condition pyramid; without ``given`` nothing is projected.
            latent: The level's noise map and style vector.
            state: What the level below returned; None for the first.

        Returns:
            The level's image and the state for the next level.
        """
        inputs = [] if condition.image is None else [condition.image]
        features = None
        if state is not None:
            image, features = self._to_reading_size(state, latent.noise.shape[-2:])
            inputs.append(image)
            features = features * self.spec.feature_scale if self.spec.feature_scale > 0 else None
        below = () if state is None else state.mapped
        raw, features, mapped = self.levels[level](inputs, latent, features, below)
        with full_precision(raw.device):  # half precision has fewer steps than an 8-bit image
            image = self.image_of(raw, condition.image)
            if self.spec.consistency == "project" and condition.given is not None:
                image = self.degradation.project(image, condition.given)
        return image, TowerState(image, features, (*below, mapped) if self.spec.mapping_sees_below else ())

    def image_of(self, raw: Tensor, lightness: Tensor | None) -> Tensor:
        """Return an image, nominally in [0, 1], of what the last convolution gives; in float32 or more precise.

        Args:
            raw: (N, C, H, W).
            lightness: What the level reads, at the image's size; only head ``ab`` looks at it.
        """
        raw = raw.to(torch.promote_types(raw.dtype, torch.float32))
        if self.spec.head == "rgb":
            return (raw.tanh() + 1) / 2
        return with_lightness(raw.tanh() * AB_MAX, lightness)

    def _to_reading_size(self, state: TowerState, size: torch.Size) -> tuple[Tensor, Tensor]:
        if self.spec.placement == "upsample":  # the level below wrote at this level's size already
            return state.image, state.features
        return (
            F.interpolate(state.image, size, mode="bilinear", align_corners=False),
            F.interpolate(state.features, size, mode="nearest"),
        )

    def portable(self) -> dict[str, Any]:
        """Return arguments that rebuild this network without the files that its own arguments may name."""
        contents = self.degradation.portable()
        return {"degradation": {**self.spec.degradation, **contents}} if contents else {}

    def latent_shapes(self, height: int, width: int) -> list[LevelShape]:
        """Return the shapes of each level's latents for a coarsest condition of ``height`` x ``width`` pixels."""
        return [
            LevelShape((self.spec.noise_channels, height * 2**k, width * 2**k), (self.spec.style_dim,))
            for k in range(self.spec.num_levels)
        ]


class TowerLevel(nn.Module):
    """One module: convolution, modulated RRDBs inside a shortcut, the 2x step, image head (paper, figure 4)."""

    def __init__(self, index: int, level: LevelSpec, tower: TowerSpec) -> None:
        super().__init__()
        channels = level.trunk_channels
        self.normalise = tower.normalise
        self.conv_first = nn.Conv2d(level.in_channels, channels, 3, 1, 1)
        self.blocks = nn.ModuleList(RRDB(channels, level.growth_channels) for _ in range(level.num_blocks))
        self.mapping = (
            MappingNetwork(
                style_dim=level.style_dim,
                num_blocks=level.num_blocks,
                channels=channels,
                width=tower.mapping_width,
                num_layers=tower.mapping_layers,
                init=tower.mapping_init,
                num_below=index if tower.mapping_sees_below else 0,
            )
            if tower.mapping
            else None
        )
        self.conv_body = nn.Conv2d(channels, channels, 3, 1, 1)
        self.conv_up = nn.Conv2d(channels, channels, 3, 1, 1) if level.upsample else None
        self.conv_hr = nn.Conv2d(channels, channels, 3, 1, 1)
        self.conv_last = nn.Conv2d(channels, 2 if tower.head == "ab" else tower.num_out_ch, 3, 1, 1)

    def forward(
        self,
        images: Sequence[Tensor],
        latent: LevelLatent,
        features: Tensor | None,
        mapped_below: Sequence[Tensor] = (),
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return the head's raw values and the features at its size, for inputs at the level's reading size.

        The third is the mapping network's last hidden layer, (N, width); ``mapped_below`` are those of the levels
        below, where it sees them.
        """
        below = [] if features is None else [features]
        mapped = None if self.mapping is None else self.mapping.mapped(latent.style, mapped_below)
        first = self.conv_first(torch.cat([*images, latent.noise, *below], dim=1))  # (N, C, H, W)
        return *self.finish(first, self._trunk(first, mapped)), mapped

    def finish(self, first: Tensor, trunk: Tensor) -> tuple[Tensor, Tensor]:
        """Return raw values and features of the shortcut and the trunk's output, both at the reading size."""
        out = first + self.conv_body(trunk)
        if self.conv_up is not None:
            out = F.leaky_relu(self.conv_up(F.interpolate(out, scale_factor=2, mode="nearest")), 0.2)  # (N, C, 2H, 2W)
        out = F.leaky_relu(self.conv_hr(out), 0.2)
        with full_precision(out.device):  # an image is made in single precision
            return self.conv_last(out.to(self.conv_last.bias.dtype)), out

    def _trunk(self, out: Tensor, mapped: Tensor | None) -> Tensor:
        if mapped is None:
            for block in self.blocks:
                out = block(out)
            return out
        scales, offsets = self.mapping.modulation(mapped)  # (N, K, C) each
        for index, block in enumerate(self.blocks):
            out = block(out)
            out = F.instance_norm(out) if self.normalise else out
            out = out * (1 + scales[:, index, :, None, None]) + offsets[:, index, :, None, None]
        return out


def initialise(tower: nn.Module) -> None:
    """Give every convolution PyTorch's default initialisation, before weight normalisation reads it.

    The published code meant ESRGAN's scaled initialisation (which BasicSR's RRDB also sets), but wrote it to
    weight-normalised layers, where it is lost: what was trained is PyTorch's default.
    """
    for module in tower.modules():
        if isinstance(module, nn.Conv2d):
            module.reset_parameters()


def normalise_convolutions(tower: nn.Module) -> None:
    """Put weight normalisation on every convolution (paper, section 4.3); keeps the weights that they have."""
    for module in tower.modules():
        if isinstance(module, nn.Conv2d):
            apply_weight_norm(module)
