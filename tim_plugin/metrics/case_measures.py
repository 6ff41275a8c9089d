"""From cases to figures: what is measured of each input, and what of all together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from basicsr.metrics import calculate_psnr, calculate_ssim
from basicsr.utils import tensor2img
from tqdm import tqdm

from tim_plugin.degradations.bicubic import EQUAL_DB
from tim_plugin.losses.distance import PerceptualDistance
from tim_plugin.metrics.cases import Case
from tim_plugin.metrics.feature_cache import cached_features
from tim_plugin.metrics.feature_extractors import Extractor
from tim_plugin.metrics.image_sets import (
    NEIGHBOURS,
    FeatureSet,
    frechet_distance,
    kernel_distance,
    precision_recall,
)
from tim_plugin.metrics.sample_measures import (
    FWV_SIGMAS,
    best_of_curve,
    distance_maps,
    distances_to,
    faithfulness_weighted_variance,
    pair_distances,
    pair_mean,
    space_score,
)
from tim_plugin.metrics.several_samples import LEAST_SAMPLES, SPACE_SAMPLES
from tim_plugin.utils.errors import TimError, did_you_mean
from tim_plugin.utils.images import round_to_8_bit

OF_SETS = ("fid", "kid", "prc")
LEAST_IMAGES = {"fid": 2, "kid": 2, "prc": NEIGHBOURS + 1}  # in each set
OF_DISTANCE = ("lpips", "lpips_diversity", "fwv")
OF_PIXELS = {"psnr": calculate_psnr, "ssim": calculate_ssim}
SPACE = f"s{SPACE_SAMPLES}"
AGREEMENT = "agreement"
METRICS = (*OF_SETS, *OF_DISTANCE, SPACE, *OF_PIXELS, AGREEMENT)


@dataclass(frozen=True)
class Tools:
    """What measures need.

    Attributes:
        metrics: Of :data:`METRICS`, or measures of agreement by name (``lr_psnr``).
        distance: For ``lpips``, ``lpips_diversity`` and ``fwv``.
        space_distance: For the NTIRE score.
        extractor: For measures of sets.
        device: Where.
        fwv_squared: See :func:`tim_plugin.metrics.sample_measures.faithfulness_weighted_variance`.
        fwv_reduction: Likewise.
        fwv_scale: Distances are divided by it before sigma is applied; 1 for LPIPS, which sigma is meant for.
        samples_in_sets: So many samples of each input count in measures of sets; None counts all.
        cache: Folder for the features of the ground truths; None keeps none.
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


def check_metrics(
    names: Iterable[str], measured: Mapping[str, Any], num_samples: int, num_inputs: int
) -> tuple[str, ...]:
    """Return the metrics' names, each known and possible.

    Args:
        names: As the user gave them.
        measured: The measures of agreement that there are.
        num_samples: Of each input.
        num_inputs: How many there are, each with its ground truth.

    Raises:
        TimError: A name is not known, or its measure needs an input, more samples or more ground truths.
    """
    names = tuple(names)
    for name in names:
        if name in ("lr_psnr", AGREEMENT) and not measured:
            raise TimError(f"--metrics {name}: compares samples with their input: say which --task made it")
        if name not in METRICS and name not in measured:
            raise TimError(f"--metrics {name}: is not known: {did_you_mean(name, [*METRICS, *measured])}")
        least = LEAST_SAMPLES.get(f"calculate_{name}", 1)
        if num_samples < least:
            raise TimError(f"--metrics {name}: takes {least} samples of each input, and there are {num_samples}")
        if num_inputs < LEAST_IMAGES.get(name, 1):
            raise TimError(f"--metrics {name}: takes {LEAST_IMAGES[name]} ground truths, and there are {num_inputs}")
    return names


@torch.no_grad()
def score(cases: Iterable[Case], tools: Tools, measured: Mapping[str, Any], total: int) -> dict[str, Any]:
    """Measure cases one after the other, with a progress bar.

    Args:
        cases: At least one; each with the same number of samples.
        tools: What is measured, and with what.
        measured: The measures of agreement that the cases have.
        total: Number of cases, for the bar.

    Returns:
        The figures by name, as they stand in the JSON file.

    Raises:
        TimError: A file is wrong, or there are too few images for a measure.
    """
    wants_sets = any(name in OF_SETS for name in tools.metrics)
    generated = FeatureSet(tools.extractor, tools.device) if wants_sets else None
    single = FeatureSet(tools.extractor, tools.device) if wants_sets else None
    real = FeatureSet(tools.extractor, tools.device) if wants_sets else None
    rows: list[dict[str, Any]] = []
    for case in tqdm(cases, total=total, unit="image"):
        rows.append(_row(case, tools))
        if wants_sets:
            features = generated.compute(case.samples[: tools.samples_in_sets])
            generated.take(features)
            single.take(features[:1])
            real.take(cached_features(real, case.gt, tools.cache))
    return {**_summary(rows, tools, measured), **(_of_sets(generated, single, real, tools) if wants_sets else {})}


def _row(case: Case, tools: Tools) -> dict[str, Any]:
    row: dict[str, Any] = {"agreement": case.agreement}
    samples, gt = case.samples.to(tools.device), case.gt[None].to(tools.device)
    mean = samples.mean(dim=0, keepdim=True)
    if any(name in OF_DISTANCE for name in tools.metrics):
        distance = tools.distance
        features = [distance.features(one[None]) for one in samples]
        row["to_gt"] = distances_to(distance, features, distance.features(gt))
        if "lpips_diversity" in tools.metrics:
            row["diversity"] = pair_mean(pair_distances(distance, features))
        if "fwv" in tools.metrics:
            to_mean = distances_to(distance, features, distance.features(mean))
            row["fwv"] = [
                faithfulness_weighted_variance(
                    row["to_gt"] / tools.fwv_scale,
                    to_mean / tools.fwv_scale,
                    sigma,
                    squared=tools.fwv_squared,
                    reduction=tools.fwv_reduction,
                )
                for sigma in FWV_SIGMAS
            ]
    if SPACE in tools.metrics:
        row["space"] = space_score(distance_maps(tools.space_distance, samples[:SPACE_SAMPLES], gt))
    wanted = {name: function for name, function in OF_PIXELS.items() if name in tools.metrics}
    if wanted:
        target, images = tensor2img(case.gt), [tensor2img(one) for one in case.samples]
        mean_image = tensor2img(round_to_8_bit(mean[0]).cpu())
        for name, function in wanted.items():
            row[name] = [min(function(image, target, 0), EQUAL_DB) for image in images]
            row[f"{name}_of_mean"] = min(function(mean_image, target, 0), EQUAL_DB)
    return row


def _summary(rows: list[dict[str, Any]], tools: Tools, measured: Mapping[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    if "lpips" in tools.metrics:
        curve = best_of_curve(torch.stack([row["to_gt"] for row in rows]))
        result["lpips"] = {"mean": curve[0], f"best_of_{len(curve)}": curve[-1], "best_of_curve": curve}
    if "lpips_diversity" in tools.metrics:
        result["lpips_diversity"] = _mean(row["diversity"] for row in rows)
    if "fwv" in tools.metrics:
        result["fwv"] = {str(sigma): _mean(row["fwv"][at] for row in rows) for at, sigma in enumerate(FWV_SIGMAS)}
    if SPACE in tools.metrics:
        result[SPACE] = _mean(row["space"] for row in rows)
    for name in OF_PIXELS:
        if name in tools.metrics:
            result[name] = {
                "mean": _mean(np.mean(row[name]) for row in rows),
                "best": _mean(np.max(row[name]) for row in rows),
                "of_mean_sample": _mean(row[f"{name}_of_mean"] for row in rows),
            }
    for name, one in measured.items():
        if name in tools.metrics or AGREEMENT in tools.metrics:
            values = [value for row in rows for value in row["agreement"][name]]
            worst = max(values) if one.better == "lower" else min(values)
            result[name] = {"mean": _mean(values), "worst": worst, "unit": one.unit}
    return result


def _of_sets(generated: FeatureSet, single: FeatureSet, real: FeatureSet, tools: Tools) -> dict[str, Any]:
    result: dict[str, Any] = {}
    if "fid" in tools.metrics:
        result[tools.extractor.frechet] = frechet_distance(generated, real)
        if generated.count > single.count:  # comparable with a method that gives one answer
            result[f"{tools.extractor.frechet}_of_first_samples"] = frechet_distance(single, real)
    if "kid" in tools.metrics:
        result[tools.extractor.kid] = kernel_distance(generated, real)
    if "prc" in tools.metrics:
        result["prc"] = precision_recall(generated, real)
    result["images_in_sets"] = {"samples": generated.count, "ground_truths": real.count}
    return result


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))
