"""The tower generator: one module a level, each at twice the resolution of the one below (paper, sections 4.1 and 4.3).

Differences from the paper's text, after its published code: where the tower enlarges, a level above the first reads
the level below and not the resized input (``condition_every_level`` adds it); the image leaves through tanh, moved to
[0, 1]. The published code's network is another one for each task: ``image_below``, ``head_at`` and ``head`` make them.
RRDB is BasicSR's own, ``basicsr.archs.rrdbnet_arch.RRDB``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm as apply_weight_norm

from tim_plugin.archs.fading import faded
from tim_plugin.archs.heads import AB_MAX, at_least_single, divided_by_lightness, with_lightness
from tim_plugin.archs.levels import all_levels
from tim_plugin.archs.mapping_arch import MappingNetwork
from tim_plugin.degradations.table import build_for_tower, portable_section
from tim_plugin.imle.latents import Latents, LevelLatent, LevelShape
from tim_plugin.imle.types import Condition
from tim_plugin.options.tower_spec import LevelSpec, TowerSpec
from tim_plugin.options.values import takes_options_of
from tim_plugin.utils import authors_files
from tim_plugin.utils.basicsr_blocks import rrdb
from tim_plugin.utils.precision import full_precision


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


@takes_options_of(TowerSpec)
class TowerGenerator(nn.Module):
    """Map a condition pyramid and latents to one image a level, coarse to fine.

    The defaults are of the published sizes of the network that enlarges 16 times (209 M parameters). Its arguments are
    the keys of ``network_g`` in an option file, which :class:`tim_plugin.options.tower_spec.TowerSpec` names.

    Raises:
        TimError: Arguments that do not fit together (see :class:`tim_plugin.options.tower_spec.TowerSpec`).
    """

    def __init__(self, spec: TowerSpec) -> None:
        super().__init__()
        self.spec = spec
        self.degradation = build_for_tower(spec.degradation, spec.scale, spec.num_in_ch, spec.num_out_ch)
        self.levels = nn.ModuleList(TowerLevel(*level, spec) for level in enumerate(spec.levels))
        initialise(self)
        if spec.weight_norm:
            normalise_convolutions(self)

    def forward(self, conditions: Sequence[Condition], latents: Latents) -> list[Tensor]:
        """Return the images of all levels.

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
            inputs += self.read_below(image)
            features = features * self.spec.feature_scale if self.spec.feature_scale > 0 else None
        below = () if state is None else state.mapped
        raw, features, mapped = self.levels[level](inputs, latent, features, below)
        with full_precision(raw.device):  # half precision has fewer steps than an 8-bit image
            image = self.agreeing(self.image_of(raw, condition.image), condition)
        return image, TowerState(image, features, (*below, mapped) if self.spec.mapping_sees_below else ())

    def image_of(self, raw: Tensor, lightness: Tensor | None) -> Tensor:
        """Return an image, nominally in [0, 1], of what the last convolution gives; in float32 or more precise.

        Args:
            raw: (N, C, H, W).
            lightness: What the level reads, at the image's size; only heads that write ``ab`` look at it.
        """
        out = at_least_single(raw).tanh()
        if self.spec.head == "rgb":
            return (out + 1) / 2
        return (
            with_lightness(out * AB_MAX, lightness) if self.spec.head == "ab" else divided_by_lightness(out, lightness)
        )

    def agreeing(self, image: Tensor, condition: Condition) -> Tensor:
        """Return a level's image (N, C, H, W) as it is where nothing is given, else faded and projected."""
        if self.spec.consistency != "project" or condition.given is None:
            return image
        if self.spec.fade_contrast:
            image = faded(image, condition.given["lq"], self.spec.fade_contrast)
        return self.degradation.project(image, condition.given)

    def read_below(self, image: Tensor) -> list[Tensor]:
        """Return what a level reads of an image (N, C, H, W), in [0, 1], of the level below."""
        if self.spec.image_below == "none":
            return []
        return [image if self.spec.image_below == "unit" else image * 2 - 1]

    def _to_reading_size(self, state: TowerState, size: torch.Size) -> tuple[Tensor, Tensor]:
        image, features = state.image, state.features  # a level that enlarges wrote at this level's size already
        if image.shape[-2:] != size and self.spec.image_below != "none":
            image = F.interpolate(image, size, mode="bilinear", align_corners=False)
        return image, features if features.shape[-2:] == size else F.interpolate(features, size, mode="nearest")

    def renamed(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the weights of a file of the method's authors by this network's keys; others as they are.

        Left out is what stands behind the last level's trunk in every such file, where this network reads it for
        nothing.
        """
        theirs = authors_files.without_prefix(state)
        if theirs is None:
            return dict(state)
        last = f"levels.{self.spec.num_levels - 1}."
        unused = () if self.spec.levels[-1].convolutions_behind else (f"{last}conv_up.", f"{last}conv_hr.")
        return {key: value for key, value in authors_files.renamed(theirs).items() if not key.startswith(unused)}

    def portable(self) -> dict[str, Any]:
        """Return arguments that rebuild this network without the files that its own arguments may name."""
        return portable_section(self.spec.degradation, self.degradation)

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
        self.blocks = nn.ModuleList(rrdb()(channels, level.growth_channels) for _ in range(level.num_blocks))
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
        self.upsample, self.head_at_trunk = level.upsample, level.head_at_trunk
        self.conv_up = nn.Conv2d(channels, channels, 3, 1, 1) if level.convolutions_behind == 2 else None
        self.conv_hr = nn.Conv2d(channels, channels, 3, 1, 1) if level.convolutions_behind else None
        self.conv_last = nn.Conv2d(channels, 2 if tower.writes_ab else tower.num_out_ch, 3, 1, 1)

    def forward(
        self,
        images: Sequence[Tensor],
        latent: LevelLatent,
        features: Tensor | None,
        mapped_below: Sequence[Tensor] = (),
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return the head's raw values and the features for the next level, for inputs at the level's reading size.

        The third is the mapping network's last hidden layer, (N, width); ``mapped_below`` are those of the levels
        below, where it sees them.
        """
        below = [] if features is None else [features]
        mapped = None if self.mapping is None else self.mapping.mapped(latent.style, mapped_below)
        first = self.conv_first(torch.cat([*images, latent.noise, *below], dim=1))  # (N, C, H, W)
        modulation = None if mapped is None else self.mapping.modulation(mapped)
        return *self.finish(first, self.trunk(first, modulation)), mapped

    def finish(self, first: Tensor, trunk: Tensor) -> tuple[Tensor, Tensor]:
        """Return raw values and features of the shortcut and the trunk's output, both at the reading size."""
        total = self.total(first, trunk)
        features = self.features_of(total)
        return self.raw_of(total if self.head_at_trunk else features), features

    def total(self, first: Tensor, trunk: Tensor) -> Tensor:
        """Return the trunk's sum (N, C, H, W): the shortcut and the trunk's output behind its last convolution."""
        return first + self.conv_body(trunk)

    def features_of(self, total: Tensor) -> Tensor:
        """Return the features of the trunk's sum (N, C, H, W), at twice its size where the level enlarges."""
        out = F.interpolate(total, scale_factor=2, mode="nearest") if self.upsample else total
        for convolution in (self.conv_up, self.conv_hr):
            out = out if convolution is None else F.leaky_relu(convolution(out), 0.2)
        return out

    def raw_of(self, seen: Tensor) -> Tensor:
        """Return the head's raw values; an image is made in single precision."""
        with full_precision(seen.device):
            return self.conv_last(seen.to(self.conv_last.bias.dtype))

    def trunk(self, out: Tensor, modulation: tuple[Tensor, Tensor] | None) -> Tensor:
        """Return what the RRDBs make of (N, C, H, W); ``modulation`` is the mapping network's, (N, K, C) each."""
        if modulation is None:
            for block in self.blocks:
                out = block(out)
            return out
        scales, offsets = modulation
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
