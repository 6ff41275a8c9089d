"""The ``network_g`` section of a TowerGenerator, and what each of its levels is made of; no torch until one is built.

The defaults are of the published sizes for 16x super-resolution.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from tim_plugin.options.plain_checks import check_keys, per_level, require_choice, shown
from tim_plugin.options.values import Section, check_value, option
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.signatures import Option

Placement = Literal["upsample", "same"]
MappingInit = Literal["pytorch", "he"]
Head = Literal["rgb", "ab", "ab_over_lightness"]
HeadAt = Literal["features", "trunk", "trunk_below_last"]
PLACEMENTS, MAPPING_INITS, HEADS = get_args(Placement), get_args(MappingInit), get_args(Head)
OF_LQ_SIZE = ("bicubic", "unknown")  # degradations whose LQ is smaller than the GT where the tower enlarges


@dataclass(frozen=True, kw_only=True)
class LevelSpec:
    """What one module of the tower is made of; :attr:`TowerSpec.levels` makes them.

    Attributes:
        upsample: Whether the features are enlarged twice behind the trunk, before the convolutions there.
        convolutions_behind: How many convolutions, each with LeakyReLU, make the features of the trunk's sum.
        head_at_trunk: Whether the image is made of the trunk's sum, and not of the features.
    """

    trunk_channels: int
    growth_channels: int
    num_blocks: int
    image_channels: int
    feature_channels: int
    noise_channels: int
    style_dim: int
    upsample: bool
    convolutions_behind: int
    head_at_trunk: bool

    @property
    def in_channels(self) -> int:
        """Channels of the level's first convolution: images, noise map, features of the level below."""
        return self.image_channels + self.noise_channels + self.feature_channels

    @property
    def image_factor(self) -> int:
        """Size of the level's image over the size that it reads."""
        return 2 if self.upsample and not self.head_at_trunk else 1


@dataclass(frozen=True, kw_only=True)
class TowerSpec(Section):
    """The tower: how many levels it has, what they are made of, what they read and write.

    Raises:
        TimError: A value is outside what it may be, or a list has not one entry a level.
    """

    place: ClassVar[str] = "network_g"
    # Options by which the same weights read or write something else, though no tensor's shape shows it; and options
    # that may be chosen anew for a trained tower.
    of_weights: ClassVar[tuple[str, ...]] = ("feature_scale", "image_below", "head", "normalise")
    behind_weights: ClassVar[tuple[str, ...]] = ("consistency", "fade_contrast")

    num_in_ch: int = option(3, "Channels of the condition.", least=1, most=4096)
    num_out_ch: int = option(3, "Channels of the images.", least=1, most=4096)
    num_levels: int = option(4, "Number L of modules.", least=1, most=16)
    trunk_channels: int | tuple[int, ...] = option(
        (128, 64, 64, 64), "Channels of each level's trunk: one number, or one a level.", least=1, most=4096
    )
    growth_channels: int | tuple[int, ...] = option(
        (256, 192, 128, 64), "Growth channels of each level's RRDBs: one number, or one a level.", least=1, most=4096
    )
    num_blocks: int = option(6, "RRDBs of each level.", least=1, most=1000)
    noise_channels: int = option(5, "Channels of each level's noise map.", least=1, most=4096)
    style_dim: int = option(128, "Length of each level's style vector.", least=1, most=65536)
    mapping_width: int = option(512, "Width of the mapping networks.", least=1, most=65536)
    mapping_layers: int = option(8, "Hidden layers of the mapping networks.", least=1, most=1000)
    mapping_init: MappingInit = option(
        "pytorch",
        "Initialisation of the mapping networks: PyTorch's default, with which the style acts only once it is learned, "
        "or He's, with which it acts from the first step.",
    )
    feature_scale: float = option(
        0.1,
        "Fraction of its features that a level hands on to the next; 0 hands on the image only.",
        least=0,
        most=1000,
    )
    placement: Placement = option(
        "upsample", "Where the 2x step is: a level writes at twice the size that it reads (upsample) or at the same."
    )
    condition_every_level: bool = option(
        False, "Where the tower enlarges, feed the enlarged LQ to the levels above the first too."
    )
    image_below: Literal["unit", "signed", "none"] = option(
        "unit",
        "How a level above the first reads the image of the level below: in [0, 1], in [-1, 1] (the authors' "
        "super-resolution), or not at all (their other tasks), so that it reads the features only.",
    )
    head_at: HeadAt = option(
        "features",
        "What a level's image is made of: the features, which the convolutions behind the trunk give; or the trunk's "
        "sum, so that those convolutions make the next level's features only, enlarged twice (the authors' "
        "decompression); or that below the last level, which has two convolutions before its image (their "
        "colourisation).",
    )
    head: Head = option(
        "rgb",
        "What a level writes: RGB; or a and b of Lab, which are joined to the lightness that it reads; or those times "
        "the lightness (the authors' colourisation).",
    )
    degradation: str | Mapping[str, Any] | None = option(
        None,
        "What made the LQ: a name, or a section with `type` and the degradation's own keys; left out, `bicubic` where "
        "the tower enlarges and `unknown` where it does not.",
    )
    consistency: Literal["off", "project"] = option(
        "off",
        "Whether each level's image is replaced by the nearest one that agrees with the LQ, where that is known for "
        "the level.",
    )
    fade_contrast: float = option(
        0.0,
        "In super-resolution with consistency: project, the local contrast of the LQ (deviation over 3x3 pixels) below "
        "which the details that a level adds to the enlarged LQ are faded in proportion; 0: nowhere.",
        least=0,
        most=1,
    )
    mapping: bool = option(True, "Modulate each RRDB's output by the mapping network.")
    mapping_sees_below: bool = option(
        False, "Each level's mapping network also reads those of the levels below (CHIMLE)."
    )
    normalise: bool = option(True, "Instance norm, without parameters, before the modulation.")
    weight_norm: bool = option(True, "Weight normalisation on every convolution.")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("trunk_channels", "growth_channels"):
            value = per_level(f"network_g: {name}", getattr(self, name), self.num_levels)
            object.__setattr__(self, name, value)
        if self.mapping_sees_below and not (self.mapping and self.mapping_layers > 1):
            raise TimError("network_g: mapping_sees_below needs mapping: true and mapping_layers of at least 2")
        object.__setattr__(self, "degradation", degradation_section(self.degradation, self.placement == "upsample"))
        self._check_degradation()
        self._check_levels()

    def _check_degradation(self) -> None:
        kind = self.degradation["type"]
        check_projection(self.consistency, kind)
        if kind == "bicubic" and self.placement != "upsample":
            raise TimError("network_g: degradation 'bicubic' is super-resolution's: it needs placement 'upsample'")
        halves = self.condition_every_level and self.consistency == "off"  # of what is given of the GT's size
        if kind not in OF_LQ_SIZE and self.placement != "same" and not halves:
            raise TimError(
                f"network_g: degradation '{kind}' keeps the size: it needs placement 'same', or "
                "condition_every_level: true without consistency, by which each level reads it at half its image's size"
            )
        if self.consistency == "project" and kind == "bicubic" and self.num_in_ch != self.num_out_ch:
            raise TimError("network_g: consistency 'project' of super-resolution needs as many channels out as in")
        if self.fade_contrast and (kind != "bicubic" or self.consistency == "off"):
            raise TimError(
                f"network_g: fade_contrast {self.fade_contrast:g} fades what is added to an enlarged LQ: it needs "
                "degradation 'bicubic' and consistency: project, or 0"
            )
        if self.writes_ab and (self.placement, self.num_in_ch, self.num_out_ch) != ("same", 1, 3):
            raise TimError(
                f"network_g: head '{self.head}' joins colour to the given lightness: it needs placement: same, "
                "num_in_ch: 1 and num_out_ch: 3"
            )

    def _check_levels(self) -> None:
        if self.head_at != "features" and self.placement != "same":
            raise TimError(
                f"network_g: head_at '{self.head_at}' makes images of the size that a level reads: it needs placement "
                "'same'"
            )
        if self.image_below == "none" and not self.feature_scale and self.num_levels > 1:
            raise TimError(
                "network_g: image_below 'none' with feature_scale 0: levels would read nothing of the level below: use "
                "a feature_scale above 0"
            )

    def require_same(self, stored: Mapping[str, Any], where: str) -> list[str]:
        """Compare what no tensor's shape shows with the ``network_g`` that a checkpoint was trained with.

        Args:
            stored: The checkpoint's section; keys that it lacks are at their defaults.
            where: The checkpoint's path.

        Returns:
            One line for each option that differs and acts behind the weights, so that it may be chosen anew.

        Raises:
            TimError: An option differs by which the weights read or write something else.
        """

        def told(keys: Sequence[str]) -> list[str]:
            own = {key: getattr(self, key) for key in keys}
            theirs = {key: _stored(self.keys()[key], stored, where) for key in keys}
            return [
                f"network_g: {key} is {shown(own[key])}, and {where} was trained with {shown(theirs[key])}"
                for key in keys
                if own[key] != theirs[key]
            ]

        if wrong := told(self.of_weights):
            raise TimError(
                f"{wrong[0]}: use the network_g that it was trained with, or strict_load_g: false to load its weights "
                "all the same"
            )
        return told(self.behind_weights)

    @property
    def writes_ab(self) -> bool:
        """Whether a level writes a and b of Lab, for the lightness that it reads."""
        return self.head != "rgb"

    @property
    def keeps_size(self) -> bool:
        """Whether the LQ has the size of the last level's image."""
        return self.placement == "same" or self.degradation["type"] not in OF_LQ_SIZE

    @property
    def scale(self) -> int:
        """Size of the last level's image over the size of the LQ."""
        return 1 if self.keeps_size else 2**self.num_levels

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
        reads_image_below = k > 0 and self.image_below != "none"
        is_last = k == self.num_levels - 1
        upsample = self.placement == "upsample" or (self.head_at != "features" and not is_last)
        return LevelSpec(
            trunk_channels=self.trunk_channels[k],
            growth_channels=self.growth_channels[k],
            num_blocks=self.num_blocks,
            image_channels=self.num_in_ch * reads_condition + self.num_out_ch * reads_image_below,
            feature_channels=self.trunk_channels[k - 1] if k > 0 and self.feature_scale > 0 else 0,
            noise_channels=self.noise_channels,
            style_dim=self.style_dim,
            upsample=upsample,
            convolutions_behind=2 if upsample else {"features": 1, "trunk": 0, "trunk_below_last": 2}[self.head_at],
            head_at_trunk=self.head_at == "trunk" or (self.head_at == "trunk_below_last" and not is_last),
        )


def _stored(key: Option, stored: Mapping[str, Any], where: str) -> Any:
    return check_value(f"{where}: network_g: {key.name}", key, stored.get(key.name, key.default))


def check_projection(consistency: str, kind: str) -> None:
    """Raise TimError where ``consistency: project`` goes with a kind of degradation that has no projection."""
    from tim_plugin.degradations.table import DEGRADATIONS  # loads torch

    if consistency == "project" and not DEGRADATIONS[kind].projects:
        raise TimError(
            f"network_g: consistency 'project': there is nothing to project for degradation '{kind}': use "
            "consistency: off, or name the degradation that made the input"
        )


def degradation_section(section: Any, enlarges: bool) -> dict[str, Any]:
    """Return the section that ``network_g: degradation`` stands for.

    Args:
        section: A name, a section with a ``type``, or None.
        enlarges: Whether the network enlarges, so that None stands for ``bicubic``; else it stands for ``unknown``.

    Raises:
        TimError: It is neither, or has a key that the degradation has not.
    """
    from tim_plugin.degradations.table import DEGRADATIONS, network_options  # loads torch

    if section is None:
        section = "bicubic" if enlarges else "unknown"
    section = {"type": section} if isinstance(section, str) else section
    if not isinstance(section, Mapping) or "type" not in section:
        raise TimError(f"network_g: degradation must be a name or a section with a type, not {section!r}")
    require_choice("network_g: degradation: type", section["type"], tuple(DEGRADATIONS))
    keys = {option.name for option in network_options(section["type"])}
    check_keys("network_g: degradation", section, keys | {"type"})
    return dict(section)
