"""Sections of an option file as frozen dataclasses: strict, with defaults, and without torch.

A dataclass here *is* the schema of its section: a key that is no field is an error that names the nearest field. The
defaults of :class:`TowerSpec` and :class:`ImleSpec` are the published configuration for 16x super-resolution.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from tim_plugin.options.search import SearchSpec
from tim_plugin.options.values import per_level, require_bool, require_choice, require_number
from tim_plugin.utils.errors import TimError, did_you_mean

Spec = TypeVar("Spec")

PLACEMENTS = ("upsample", "same")
CONSISTENCIES = ("off", "project")
SAMPLINGS = ("hierarchical", "vanilla", "chimle")
MAPPING_INITS = ("pytorch", "he")
HEADS = ("rgb", "ab")
# What a degradation's section holds beside its type.
DEGRADATION_KEYS = {
    "bicubic": set(),
    "unknown": set(),
    "lightness": set(),
    "jpeg": set(),
    "labels": {"palette", "void", "num_classes", "void_index"},
    "pca": {"basis", "num_components"},
}
NO_PROJECTION = ("unknown", "labels")


@dataclass(frozen=True, kw_only=True)
class LevelSpec:
    """What one module of the tower is made of; :attr:`TowerSpec.levels` makes them."""

    trunk_channels: int
    growth_channels: int
    num_blocks: int
    image_channels: int
    feature_channels: int
    noise_channels: int
    style_dim: int
    upsample: bool

    @property
    def in_channels(self) -> int:
        """Channels of the level's first convolution: images, noise map, features of the level below."""
        return self.image_channels + self.noise_channels + self.feature_channels


@dataclass(frozen=True, kw_only=True)
class TowerSpec:
    """Arguments of :class:`tim_plugin.archs.tower_arch.TowerGenerator`, checked against each other.

    Raises:
        TimError: A value is outside what it may be, or a list has not one entry a level.
    """

    num_in_ch: int = 3
    num_out_ch: int = 3
    num_levels: int = 4
    trunk_channels: tuple[int, ...] = (128, 64, 64, 64)
    growth_channels: tuple[int, ...] = (256, 192, 128, 64)
    num_blocks: int = 6
    noise_channels: int = 5
    style_dim: int = 128
    mapping_width: int = 512
    mapping_layers: int = 8
    mapping_init: str = "pytorch"
    feature_scale: float = 0.1
    placement: str = "upsample"
    condition_every_level: bool = False
    head: str = "rgb"
    degradation: str | Mapping[str, Any] | None = None
    consistency: str = "off"
    mapping: bool = True
    mapping_sees_below: bool = False
    normalise: bool = True
    weight_norm: bool = True

    def __post_init__(self) -> None:
        for name in (
            "num_in_ch",
            "num_out_ch",
            "num_levels",
            "num_blocks",
            "noise_channels",
            "style_dim",
            "mapping_width",
            "mapping_layers",
        ):
            require_number(f"network_g: {name}", getattr(self, name), int, minimum=1)
        require_number("network_g: feature_scale", self.feature_scale, float, minimum=0)
        for name in ("condition_every_level", "mapping", "mapping_sees_below", "normalise", "weight_norm"):
            require_bool(f"network_g: {name}", getattr(self, name))
        for name in ("trunk_channels", "growth_channels"):
            value = per_level(f"network_g: {name}", getattr(self, name), self.num_levels)
            object.__setattr__(self, name, value)
        require_choice("network_g: mapping_init", self.mapping_init, MAPPING_INITS)
        if self.consistency is False:  # YAML 1.1 reads a bare `off` as false
            object.__setattr__(self, "consistency", "off")
        require_choice("network_g: placement", self.placement, PLACEMENTS)
        require_choice("network_g: consistency", self.consistency, CONSISTENCIES)
        require_choice("network_g: head", self.head, HEADS)
        if self.mapping_sees_below and not (self.mapping and self.mapping_layers > 1):
            raise TimError("network_g: mapping_sees_below needs mapping: true and mapping_layers of at least 2")
        object.__setattr__(self, "degradation", self._degradation_section())
        self._check_degradation()

    def _degradation_section(self) -> dict[str, Any]:
        section = self.degradation
        if section is None:
            section = "bicubic" if self.placement == "upsample" else "unknown"
        section = {"type": section} if isinstance(section, str) else section
        if not isinstance(section, Mapping) or "type" not in section:
            raise TimError(f"network_g: degradation must be a name or a section with a type, not {section!r}")
        require_choice("network_g: degradation: type", section["type"], tuple(DEGRADATION_KEYS))
        check_keys("network_g: degradation", section, DEGRADATION_KEYS[section["type"]] | {"type"})
        return dict(section)

    def _check_degradation(self) -> None:
        kind = self.degradation["type"]
        if self.consistency == "project" and kind in NO_PROJECTION:
            raise TimError(
                f"network_g: consistency 'project': there is nothing to project for degradation '{kind}': use "
                "consistency: off, or name the degradation that made the input"
            )
        if kind == "bicubic" and self.placement != "upsample":
            raise TimError("network_g: degradation 'bicubic' is super-resolution's: it needs placement 'upsample'")
        if kind not in ("bicubic", "unknown") and self.placement != "same":
            raise TimError(f"network_g: degradation '{kind}' keeps the size: it needs placement 'same'")
        if self.consistency == "project" and kind == "bicubic" and self.num_in_ch != self.num_out_ch:
            raise TimError("network_g: consistency 'project' of super-resolution needs as many channels out as in")
        if self.head == "ab" and (self.placement, self.num_in_ch, self.num_out_ch) != ("same", 1, 3):
            raise TimError(
                "network_g: head 'ab' joins colour to the given lightness: it needs placement: same, num_in_ch: 1 "
                "and num_out_ch: 3"
            )

    @property
    def scale(self) -> int:
        """Size of the last level's image over the size of the LQ."""
        return 2**self.num_levels if self.placement == "upsample" else 1

    @property
    def gt_multiple(self) -> int:
        """What the sides of a GT must divide by."""
        return 2**self.num_levels if self.placement == "upsample" else 2 ** (self.num_levels - 1)

    @property
    def levels(self) -> tuple[LevelSpec, ...]:
        """The level specs, coarse to fine."""
        return tuple(self._level(k) for k in range(self.num_levels))

    def _level(self, k: int) -> LevelSpec:
        reads_condition = k == 0 or self.placement == "same" or self.condition_every_level
        return LevelSpec(
            trunk_channels=self.trunk_channels[k],
            growth_channels=self.growth_channels[k],
            num_blocks=self.num_blocks,
            image_channels=self.num_in_ch * reads_condition + self.num_out_ch * (k > 0),
            feature_channels=self.trunk_channels[k - 1] if k > 0 and self.feature_scale > 0 else 0,
            noise_channels=self.noise_channels,
            style_dim=self.style_dim,
            upsample=self.placement == "upsample",
        )


@dataclass(frozen=True, kw_only=True)
class ImleSpec(SearchSpec):
    """The ``imle`` section: how codes are searched and how long the found ones are trained on (paper, section 4.2).

    ``samples_per_level`` is m, one number or one a level; vanilla sampling draws all levels' codes at once and takes
    the first; CHIMLE's is the hierarchical search with a number a level. ``pool_size`` examples are searched together
    and each is used ``reuse`` times before the next pool. ``search_ahead`` lets another process search the next pool
    as soon as it is full, with the weights of that moment.

    Beyond the paper: ``reject_radius`` (a distance, one number or one a level: nearer candidates are not taken),
    ``jitter`` (deviation of the noise on the chosen code, drawn anew for each step), ``beam`` (winners kept a level),
    and what :class:`tim_plugin.options.search.SearchSpec` says of speed.

    Raises:
        TimError: A value is outside what it may be.
    """

    sampling: str = "hierarchical"
    samples_per_level: int | tuple[int, ...] = 120
    pool_size: int = 400
    reuse: int = 25
    search_batch: int = 1
    max_candidates_per_batch: int = 20
    intermediate_supervision: bool = True
    reject_radius: float | tuple[float, ...] = 0.0
    jitter: float = 0.0
    beam: int = 1
    search_ahead: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("imle: sampling", self.sampling, SAMPLINGS)
        for name in ("pool_size", "reuse", "search_batch", "max_candidates_per_batch", "beam"):
            require_number(f"imle: {name}", getattr(self, name), int, minimum=1)
        for name in ("intermediate_supervision", "search_ahead"):
            require_bool(f"imle: {name}", getattr(self, name))
        if self.search_ahead and self.reuse == 1:
            raise TimError(
                "imle: search_ahead searches the next pool while the current one is used again, and reuse is 1: use "
                "reuse: 2 or more, or search_ahead: false"
            )
        samples = self.samples_per_level
        if isinstance(samples, (list, tuple)):
            object.__setattr__(self, "samples_per_level", tuple(samples))
            if self.sampling == "vanilla" and len(set(samples)) > 1:
                raise TimError(
                    "imle: samples_per_level differs by level, but vanilla sampling draws all levels' codes "
                    "together: give one number, or use sampling: hierarchical"
                )
        elif self.sampling == "chimle":
            raise TimError(
                "imle: sampling 'chimle' spends more candidates on the coarse levels: give samples_per_level a number "
                "a level, [200, 200, 20, 10] as published for four"
            )
        for value in self.samples_per_level if isinstance(self.samples_per_level, tuple) else (samples,):
            require_number("imle: samples_per_level", value, int, minimum=1)
            if value % self.beam:
                raise TimError(
                    f"imle: samples_per_level {value} is not divisible by beam {self.beam}, over whose winners the "
                    f"candidates are divided: use {-(-value // self.beam) * self.beam}"
                )
        if self.beam > 1 and self.sampling == "vanilla":
            raise TimError("imle: beam keeps winners of each level: it needs sampling: hierarchical")
        if isinstance(self.reject_radius, (list, tuple)):
            object.__setattr__(self, "reject_radius", tuple(self.reject_radius))
        radii = self.reject_radius if isinstance(self.reject_radius, tuple) else (self.reject_radius,)
        for name, values in (("reject_radius", radii), ("jitter", (self.jitter,))):
            for value in values:
                require_number(f"imle: {name}", value, float, minimum=0)
        if self.screen < 1 and any(radii):
            raise TimError(
                "imle: screen keeps the nearest by a part of the distance, of which reject_radius would refuse the "
                "nearest again: use one of the two"
            )

    def samples(self, num_levels: int) -> tuple[int, ...]:
        """Return the number of candidates of each level, coarse to fine."""
        return per_level("imle: samples_per_level", self.samples_per_level, num_levels)

    def supervised(self, num_levels: int) -> range:
        """Return the levels that the loss sees: all, or without intermediate supervision the last."""
        return range(num_levels) if self.intermediate_supervision else range(num_levels - 1, num_levels)

    def radii(self, num_levels: int) -> tuple[float, ...]:
        """Return the radius of rejection of each level, coarse to fine.

        Raises:
            TimError: There is not one a level.
        """
        radii = self.reject_radius if isinstance(self.reject_radius, tuple) else (self.reject_radius,) * num_levels
        if len(radii) != num_levels:
            raise TimError(f"imle: reject_radius has {len(radii)} entries for {num_levels} levels: give one number")
        return radii


@dataclass(frozen=True, kw_only=True)
class DistanceSpec:
    """The ``train: perceptual_opt`` section for ``PerceptualDistanceLoss`` (the keys of its constructor)."""

    type: str = "PerceptualDistanceLoss"
    loss_weight: float = 1.0
    backbone: str = "vgg16"
    weights: str = "imagenet"
    calibration: str = "lpips"
    seed: int = 0

    def __post_init__(self) -> None:
        require_number("train: perceptual_opt: loss_weight", self.loss_weight, float, minimum=0)
        require_number("train: perceptual_opt: seed", self.seed, int, minimum=0)


@dataclass(frozen=True, kw_only=True)
class ValSpec:
    """What validation and test do with several samples of an input: our keys of the ``val`` section."""

    num_samples: int = 8
    seed: int = 0
    contact_sheet: bool = True
    max_samples_per_batch: int = 4

    def __post_init__(self) -> None:
        for name in ("num_samples", "max_samples_per_batch"):
            require_number(f"val: {name}", getattr(self, name), int, minimum=1)
        require_number("val: seed", self.seed, int, minimum=0)
        require_bool("val: contact_sheet", self.contact_sheet)

    @classmethod
    def from_options(cls, section: Mapping[str, Any] | None) -> ValSpec:
        """Pick our keys out of BasicSR's ``val`` section."""
        names = field_names(cls)
        return cls(**{key: value for key, value in (section or {}).items() if key in names})


def field_names(spec: type) -> set[str]:
    """Return the keys that a section may hold."""
    return {field.name for field in dataclasses.fields(spec)}


def build_spec(spec: type[Spec], section: str, options: Mapping[str, Any] | None, ignore: tuple[str, ...] = ()) -> Spec:
    """Turn a section of an option file into its dataclass.

    Args:
        spec: One of the dataclasses above.
        section: Name of the section, for errors.
        options: The section as read from YAML; None stands for an empty one.
        ignore: Keys that belong to somebody else (``type``).

    Raises:
        TimError: The section is no mapping, a key is unknown, or a value is wrong.
    """
    options = {} if options is None else options
    if not isinstance(options, Mapping):
        raise TimError(f"{section}: must be a section with keys, not {options!r}")
    kept = {key: value for key, value in options.items() if key not in ignore}
    check_keys(section, kept, field_names(spec))
    return spec(**kept)


def check_keys(section: str, options: Mapping[str, Any], valid: set[str]) -> None:
    """Raise TimError for the first key that is not in ``valid``, with the nearest valid one."""
    for key in options:
        if key not in valid:
            raise TimError(f"{section}: unknown key '{key}': {did_you_mean(str(key), valid)}")
