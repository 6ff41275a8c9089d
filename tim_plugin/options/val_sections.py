"""The ``val`` section and the metrics that it may name; no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from tim_plugin.options.schema import ValSpec
from tim_plugin.options.values import Section, basicsr, option

Better = Literal["higher", "lower"]


@dataclass(frozen=True, kw_only=True)
class PsnrSection(Section):
    """PSNR or SSIM with the GT, as BasicSR computes them."""

    needed: ClassVar[tuple[str, ...]] = ("crop_border",)

    crop_border: int | None = basicsr("Pixels cut off at each side.", least=0)
    input_order: Literal["HWC"] | None = basicsr("Of the images; validation has HWC.")
    test_y_channel: bool | None = basicsr("Of the luma only.")
    better: Better | None = basicsr("Which value is better.")


@dataclass(frozen=True, kw_only=True)
class NiqeSection(Section):
    """NIQE, which needs no GT but images of at least two blocks of 96x96 pixels."""

    needed: ClassVar[tuple[str, ...]] = ("crop_border",)

    crop_border: int | None = basicsr("Pixels cut off at each side.", least=0)
    input_order: Literal["HWC"] | None = basicsr("Of the images; validation has HWC.")
    convert_to: Literal["y", "gray"] | None = basicsr("What it is computed of.")
    better: Better | None = basicsr("Which value is better.")


@dataclass(frozen=True, kw_only=True)
class DiversitySection(Section):
    """The mean LPIPS distance between two samples."""

    backbone: Literal["vgg16", "alexnet", "squeezenet1_1", "tim_small"] | None = option(
        None, "Network of LPIPS; `vgg16` if left out, of calculate_s10 `alexnet`."
    )
    weights: str | None = option(
        None, "Its weights, as in `train: perceptual_opt`; `imagenet` if left out, so that `tim_small` needs `bundled`."
    )
    calibration: Literal["lpips", "bundled", "none"] | None = option(
        None, "Weights of the feature maps; `lpips` if left out, so that `tim_small` needs `bundled` or `none`."
    )
    seed: int | None = option(None, "Of random weights; 0 if left out.", least=0)
    better: Better | None = option(None, "Which value is better; the metric's own if left out.")


@dataclass(frozen=True, kw_only=True)
class LpipsSection(DiversitySection):
    """The LPIPS distance to the GT."""

    crop_border: int | None = option(None, "Pixels cut off at each side; 0 if left out.", least=0)


@dataclass(frozen=True, kw_only=True)
class FwvSection(DiversitySection):
    """The faithfulness-weighted variance of the samples."""

    sigma: float | None = option(None, "Bandwidth; 0.3 if left out.", above=0)
    squared: bool | None = option(None, "Put the distance to the GT squared into the exponent; false if left out.")
    reduction: Literal["mean", "sum"] | None = option(None, "Over samples; `mean` if left out.")


@dataclass(frozen=True, kw_only=True)
class SpaceSection(DiversitySection):
    """The score of ten samples of the challenges on the super-resolution space."""


METRICS = {
    "calculate_psnr": PsnrSection,
    "calculate_ssim": PsnrSection,
    "calculate_niqe": NiqeSection,
    "calculate_lpips": LpipsSection,
    "calculate_lpips_diversity": DiversitySection,
    "calculate_fwv": FwvSection,
    "calculate_s10": SpaceSection,
}


@dataclass(frozen=True, kw_only=True)
class ValSection(ValSpec):
    """Validation and test: when, how many samples, what is measured and saved."""

    needed: ClassVar[tuple[str, ...]] = ("save_img",)
    needed_in_training: ClassVar[tuple[str, ...]] = ("val_freq",)

    val_freq: float | None = basicsr("Iterations between validations.", least=1, whole=True)
    save_img: bool | None = basicsr("Save the samples.")
    suffix: str | None = basicsr("Appended to the names of saved images.")
    metrics: Mapping[str, Any] | None = basicsr("Metrics by a name of your own, each with `type` and its arguments.")
    pbar: bool | None = basicsr("Show a progress bar.")
