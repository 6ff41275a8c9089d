"""From cases to figures: what is measured of each input's samples, and what of all inputs together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from basicsr.metrics import calculate_psnr, calculate_ssim
from basicsr.utils import tensor2img
from torch import Tensor
from tqdm import tqdm

from tim_plugin.degradations.base import Measure
from tim_plugin.degradations.bicubic import EQUAL_DB
from tim_plugin.losses.distance import PerceptualDistance
from tim_plugin.losses.pairs import pair_distances
from tim_plugin.metrics import calibration
from tim_plugin.metrics.cases import Case, Cases
from tim_plugin.metrics.feature_extractors import Extractor
from tim_plugin.metrics.image_sets import COVERAGE_NEIGHBOURS
from tim_plugin.metrics.posterior import local_deviation
from tim_plugin.metrics.sample_measures import (
    FWV_SIGMAS,
    best_of_curve,
    distance_maps,
    distances_to,
    faithfulness_weighted_variance,
    features_of_each,
    pair_mean,
    space_score,
)
from tim_plugin.metrics.set_measures import Sets, require_pairs
from tim_plugin.metrics.several_samples import LEAST_SAMPLES
from tim_plugin.utils.errors import TimError, did_you_mean
from tim_plugin.utils.images import round_to_8_bit
from tim_plugin.utils.metric_names import (
    CONDITIONAL,
    CONSISTENCY,
    METRICS,
    OF_DISTANCE,
    OF_PIXELS,
    OF_POSTERIOR,
    OF_SETS,
    SPACE,
    SPACE_SAMPLES,
    VARIATION,
)

LEAST_IMAGES = {"fid": 2, "kid": 2, "prc": COVERAGE_NEIGHBOURS + 1}  # in each set
LEAST = {name.removeprefix("calculate_"): count for name, count in LEAST_SAMPLES.items()}
LEAST |= {**dict.fromkeys((*OF_POSTERIOR, VARIATION), 2), "coverage": calibration.LEAST_SAMPLES}
FUNCTIONS = dict(zip(OF_PIXELS, (calculate_psnr, calculate_ssim), strict=True))
SSIM_WINDOW_PX = 11
Figures = dict[str, Any]


@dataclass(frozen=True)
class Tools:
    """What measures need.

    Attributes:
        metrics: Of :data:`METRICS`, or measures of consistency by name (``lr_psnr``).
        distance: For what is measured by a distance or in its features.
        space_distance: For the NTIRE score.
        extractor: For measures of sets.
        device: Where samples are measured.
        fwv_squared: See :func:`tim_plugin.metrics.sample_measures.faithfulness_weighted_variance`.
        fwv_reduction: Over samples, ``mean`` or ``sum``.
        fwv_scale: Distances are divided by it before sigma is applied; 1 for LPIPS, which sigma is meant for.
        samples_in_sets: So many samples of each input count in measures of sets; None counts all.
        cache: Folder for the features of real images; None keeps none.
        at_infinity: See :class:`tim_plugin.metrics.set_measures.Sets`; so is ``floor``.
        floor: For measures of sets.
    """

    metrics: tuple[str, ...]
    distance: PerceptualDistance | None = None
    space_distance: PerceptualDistance | None = None
    extractor: Extractor | None = None
    device: torch.device | str = "cpu"
    fwv_squared: bool = False
    fwv_reduction: str = "mean"
    fwv_scale: float = 1.0
    samples_in_sets: int | None = None
    cache: Path | None = None
    at_infinity: bool = False
    floor: Iterable[Tensor] | None = None

    def sets(self) -> Sets | None:
        """Return what collects the features that measures of sets need; None where none is wanted."""
        if not self.measures_any(OF_SETS):
            return None
        given = (self.metrics, self.device, self.samples_in_sets, self.cache, self.at_infinity, self.floor)
        return Sets(self.extractor, *given)

    def measures_any(self, names: Iterable[str]) -> bool:
        """Tell whether one of these metrics is wanted."""
        return any(name in self.metrics for name in names)


def check_metrics(
    names: Iterable[str], measured: Mapping[str, Measure], num_samples: int, num_inputs: int
) -> tuple[str, ...]:
    """Return the metrics' names, each known and possible.

    Args:
        names: As the user gave them.
        measured: The measures of consistency that there are.
        num_samples: Of each input.
        num_inputs: How many there are, each with its ground truth.

    Raises:
        TimError: A name is not known, or its measure needs an input, more samples or more ground truths.
    """
    names = tuple(names)
    for name in names:
        if name in ("lr_psnr", CONSISTENCY) and not measured:
            raise TimError(f"--metrics {name}: compares samples with their input: say which --task made it")
        if name not in METRICS and name not in measured:
            raise TimError(f"--metrics {name}: is not known: {did_you_mean(name, [*METRICS, *measured])}")
        if num_samples < LEAST.get(name, 1):
            raise TimError(f"--metrics {name}: takes {LEAST[name]} samples of each input, and there are {num_samples}")
        if num_inputs < LEAST_IMAGES.get(name, 1):
            raise TimError(f"--metrics {name}: takes {LEAST_IMAGES[name]} ground truths, and there are {num_inputs}")
    return names


@torch.no_grad()
def score(cases: Cases, tools: Tools, measured: Mapping[str, Measure], total: int) -> Figures:
    """Measure cases one after the other, with a progress bar.

    Args:
        cases: At least one; each with the same number of samples.
        tools: What is measured, and with what.
        measured: The measures of consistency that the cases have.
        total: Number of cases, for the bar.

    Returns:
        The figures by name, as they stand in the JSON file.

    Raises:
        TimError: Every input had to be left out, or there are too few images for a measure.
    """
    _check_conditional(cases, tools, total)
    sets = tools.sets()
    rows: list[dict[str, Any]] = []
    for case in tqdm(cases, total=total, unit="image"):
        try:
            rows.append(_row(case, tools))
        except TimError as error:
            cases.leave_out(str(error))
            continue
        if sets is not None:
            sets.take(case)
    if not rows:
        raise TimError(cases.left_out[0] if cases.left_out else "there is nothing to measure")
    return {**_summary(rows, tools, measured), **({} if sets is None else sets.figures())}


def _check_conditional(cases: Cases, tools: Tools, total: int) -> None:
    if CONDITIONAL not in tools.metrics:
        return
    if not cases.has_inputs:
        raise TimError(f"--metrics {CONDITIONAL}: measures samples with their input: say which --task made it")
    require_pairs(total, tools.extractor.width)


# of one input's samples -----------------------------------------------------------------------------------------------


def _row(case: Case, tools: Tools) -> dict[str, Any]:
    samples, gt = case.samples.to(tools.device), case.gt[None].to(tools.device)
    row: dict[str, Any] = {CONSISTENCY: case.consistency}
    if tools.measures_any(OF_DISTANCE):
        row |= _by_distance(samples, gt, tools)
    if SPACE in tools.metrics:
        row["space"] = space_score(distance_maps(tools.space_distance, samples[:SPACE_SAMPLES], gt))
    if VARIATION in tools.metrics:
        row["l_std"] = local_deviation(samples)
    if tools.measures_any((*OF_PIXELS, VARIATION)):
        row |= _by_pixels(case, samples.mean(dim=0), tools)
    return row


def _by_distance(samples: Tensor, gt: Tensor, tools: Tools) -> dict[str, Any]:
    """Measure samples (n, 3, H, W) and their GT (1, 3, H, W) by the distance."""
    distance, features = tools.distance, features_of_each(tools.distance, samples)
    target, between = distance.features(gt), None
    row: dict[str, Any] = {"to_gt": distances_to(distance, features, target)}
    if tools.measures_any(("lpips_diversity", "energy_score")):
        between = pair_distances(distance, features)
    if "lpips_diversity" in tools.metrics:
        row["diversity"] = pair_mean(between)
    if tools.measures_any(OF_POSTERIOR):
        found = (samples, gt), (features, target), (row["to_gt"], between)
        row["posterior"] = calibration.posterior_row(tools.metrics, *found)
    if "fwv" in tools.metrics:
        to_mean = distances_to(distance, features, distance.features(samples.mean(dim=0, keepdim=True)))
        scaled = (row["to_gt"] / tools.fwv_scale, to_mean / tools.fwv_scale)
        form = {"squared": tools.fwv_squared, "reduction": tools.fwv_reduction}
        row["fwv"] = [faithfulness_weighted_variance(*scaled, sigma, **form) for sigma in FWV_SIGMAS]
    return row


def _by_pixels(case: Case, mean: Tensor, tools: Tools) -> dict[str, Any]:
    """Measure each sample, and the mean of all (3, H, W), by BasicSR's metrics of pixels."""
    row: dict[str, Any] = {}
    target, images = tensor2img(case.gt), [tensor2img(one) for one in case.samples]
    mean_image = tensor2img(round_to_8_bit(mean).cpu())
    if "ssim" in tools.metrics and min(case.gt.shape[-2:]) < SSIM_WINDOW_PX:
        size = f"{case.gt.shape[-1]}x{case.gt.shape[-2]}"
        raise TimError(f"{case.name}: is {size}; ssim needs {SSIM_WINDOW_PX}x{SSIM_WINDOW_PX} pixels or more")
    for name, function in FUNCTIONS.items():
        if name in tools.metrics or (name == "psnr" and VARIATION in tools.metrics):
            row[name] = [min(function(image, target, 0), EQUAL_DB) for image in images]
            row[f"{name}_of_mean"] = min(function(mean_image, target, 0), EQUAL_DB)
    return row


# of all inputs --------------------------------------------------------------------------------------------------------


def _summary(rows: list[dict[str, Any]], tools: Tools, measured: Mapping[str, Measure]) -> Figures:
    result: Figures = {}
    if "lpips" in tools.metrics:
        curve = best_of_curve(torch.stack([row["to_gt"] for row in rows]))
        result["lpips"] = {"mean": curve[0], f"best_of_{len(curve)}": curve[-1], "best_of_curve": curve}
    if "lpips_diversity" in tools.metrics:
        result["lpips_diversity"] = _mean(row["diversity"] for row in rows)
    if "fwv" in tools.metrics:
        result["fwv"] = {str(sigma): _mean(row["fwv"][at] for row in rows) for at, sigma in enumerate(FWV_SIGMAS)}
    if tools.measures_any(OF_POSTERIOR):
        result |= calibration.posterior_figures([row["posterior"] for row in rows], tools.metrics)
    if VARIATION in tools.metrics:  # G-STD and L-STD as in CCSR's code: deviations over samples with 1 / n
        keys = {"psnr": "psnr", "lpips": "to_gt"}
        g_std = {name: _mean(np.asarray(row[key]).std() for row in rows) for name, key in keys.items()}
        result[VARIATION] = {"g_std": g_std, "l_std": _mean(row["l_std"] for row in rows)}
    if SPACE in tools.metrics:
        result[SPACE] = _mean(row["space"] for row in rows)
    for name in OF_PIXELS:
        if name in tools.metrics:
            result[name] = {
                "mean": _mean(np.mean(row[name]) for row in rows),
                "best": _mean(np.max(row[name]) for row in rows),
                "of_mean_sample": _mean(row[f"{name}_of_mean"] for row in rows),
            }
    return result | _consistency(rows, tools, measured)


def _consistency(rows: list[dict[str, Any]], tools: Tools, measured: Mapping[str, Measure]) -> Figures:
    result: Figures = {}
    for name, one in measured.items():
        if tools.measures_any((name, CONSISTENCY)):
            values = [value for row in rows for value in row[CONSISTENCY][name]]
            worst = max(values) if one.better == "lower" else min(values)
            result[name] = {"mean": _mean(values), "worst": worst, "unit": one.unit}
    return result


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))
