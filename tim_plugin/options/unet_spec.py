"""The ``network_g`` sections of the compared networks that are U-Nets; no torch until a degradation is built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from tim_plugin.options.tower_spec import OF_LQ_SIZE, check_projection, degradation_section
from tim_plugin.options.values import Section, option
from tim_plugin.utils.errors import TimError

WRITTEN = 3  # channels of the images


@dataclass(frozen=True, kw_only=True)
class UNetSpec(Section):
    """A U-Net that reads the LQ, enlarged to the size of the images, and writes their values.

    Raises:
        TimError: A value is outside what it may be, or does not fit another.
    """

    place: ClassVar[str] = "network_g"

    scale: int = option(1, "Size of the images over the size of the LQ.", least=1, most=256)
    num_in_ch: int = option(3, "Channels of the LQ.", least=1, most=4096)
    widths: tuple[int, ...] = option(
        (64, 128, 256, 512),
        "Channels at each size, from that of the images down, each half of the one before.",
        least=2,
    )
    head: Literal["rgb", "ab"] = option(
        "rgb", "What is written: RGB, or a and b of Lab, which are joined to the lightness that is read."
    )
    degradation: str | Mapping[str, Any] | None = option(
        None,
        "What made the LQ: a name, or a section with `type` and the degradation's own keys; left out, `bicubic` where "
        "the scale is above 1, else `unknown`.",
    )
    consistency: Literal["off", "project"] = option(
        "off", "Whether a finished sample is replaced by the nearest image that agrees with the LQ."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.widths:
            raise TimError("network_g: widths must hold a number for each size, not none")
        object.__setattr__(self, "degradation", degradation_section(self.degradation, self.scale > 1))
        kind = self.degradation["type"]
        if self.scale > 1 and kind not in OF_LQ_SIZE:
            raise TimError(f"network_g: degradation '{kind}' keeps the size: use scale: 1")
        check_projection(self.consistency, kind)
        if self.consistency == "project" and kind == "bicubic" and self.num_in_ch != WRITTEN:
            raise TimError("network_g: consistency 'project' of super-resolution needs num_in_ch: 3")
        if self.head == "ab" and (self.scale, self.num_in_ch) != (1, 1):
            raise TimError("network_g: head 'ab' joins colour to the given lightness: it needs scale: 1, num_in_ch: 1")


@dataclass(frozen=True, kw_only=True)
class FlowSpec(UNetSpec):
    """Two U-Nets: the mean, and the velocity that leads from the mean and a little noise to a sample."""

    noise: float = option(
        0.1, "Deviation of the noise on the mean where the lines begin, of values in [-1, 1].", above=0, most=10
    )
    steps: int = option(25, "Euler steps of a sample, each one evaluation of the velocity.", least=1, most=10_000)


@dataclass(frozen=True, kw_only=True)
class DiffusionSpec(UNetSpec):
    """A U-Net that removes noise of any level (EDM)."""

    steps: int = option(
        18,
        "Steps of Heun's rule for a sample, of two evaluations of the network each; the last has one.",
        least=1,
        most=10_000,
    )
    data: float = option(0.5, "Deviation of the images' values, in [-1, 1].", above=0, most=10)


@dataclass(frozen=True, kw_only=True)
class GanSpec(UNetSpec):
    """A U-Net that also reads noise, and its critic."""

    adversarial_weight: float = option(
        0.005, "Weight of the critic's opinion beside the L1 error of the mean.", least=0, most=1000
    )


UNETS: dict[str, type[UNetSpec]] = {
    "RegressionUNet": UNetSpec,
    "RectifiedFlow": FlowSpec,
    "ConditionalEDM": DiffusionSpec,
    "RcGAN": GanSpec,
}
