"""Several samples for each image of a loader, saved and measured: what validation, the test road and the demo share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from basicsr.utils import tensor2img
from torch import Tensor, nn

from tim_plugin import consistency
from tim_plugin.data.pyramid import condition_pyramid
from tim_plugin.errors import TimError
from tim_plugin.imle.sampling import LevelSeeds, sample
from tim_plugin.imle.selection import Distance
from tim_plugin.metrics.image_metrics import Metric
from tim_plugin.options import TowerSpec


class Answers(NamedTuple):
    """The samples of one image, as they are saved.

    Attributes:
        name: The LQ file's name without suffix.
        lq: (C, h, w) in [0, 1].
        samples: (n, C, H, W) in [0, 1], on the 8-bit grid.
        gt: (C, H, W) or None.
    """

    name: str
    lq: Tensor
    samples: Tensor
    gt: Tensor | None


@dataclass
class Row:
    """Measures of one image: ``scores[metric]`` holds one value a sample."""

    name: str
    scores: dict[str, list[float]] = field(default_factory=dict)
    diversity: float | None = None


def answer(
    tower: nn.Module,
    lq: Tensor,
    num_samples: int,
    seed: int,
    image_key: int | str,
    level_seeds: LevelSeeds | None = None,
    max_samples_per_batch: int = 4,
) -> Tensor:
    """Return the samples of one image as they are to be saved.

    Args:
        tower: A generator with a ``spec``.
        lq: (1, C, h, w) in [0, 1] on the tower's device.
        num_samples: How many.
        seed: See :func:`tim_plugin.imle.sampling.sample`; likewise the arguments that follow.

    Returns:
        (n, C, H, W) on the CPU, in [0, 1] and on the 8-bit grid. With ``consistency: project`` the projection is
        repeated until it holds after rounding and clipping.
    """
    spec: TowerSpec = tower.spec
    conditions = condition_pyramid(
        lq, num_levels=spec.num_levels, placement=spec.placement, every_level=spec.condition_every_level
    )
    images = sample(tower, conditions, num_samples, seed, [image_key], level_seeds, max_samples_per_batch)[0].cpu()
    return finish(images, lq.cpu(), spec)


def finish(images: Tensor, lq: Tensor, spec: TowerSpec) -> Tensor:
    """Clip and round raw samples (n, C, H, W) to what an 8-bit PNG holds, keeping them consistent if the tower is."""
    if spec.consistency == "project":
        return consistency.project_for_saving(images, lq.expand(len(images), -1, -1, -1))[0]
    return images.clamp(0, 1).mul(255).round().div(255)


def evaluate(
    tower: nn.Module,
    loader: Iterable[Mapping[str, Any]],
    metrics: Mapping[str, Metric],
    num_samples: int,
    seed: int,
    *,
    device: torch.device | str = "cpu",
    distance: Distance | None = None,
    max_samples_per_batch: int = 4,
    callback: Callable[[Answers, Row], None] | None = None,
) -> list[Row]:
    """Sample and measure each image of a loader.

    Args:
        tower: The generator, in eval mode.
        loader: Batches of one with BasicSR's keys ``lq``, ``lq_path`` and maybe ``gt``.
        metrics: Measured for each sample where there is a GT.
        num_samples: Samples for each image.
        seed: Sample j of the image with index i depends on (seed, i, j) alone.
        device: The tower's device.
        distance: Adds ``distance`` to GT for each sample, and the samples' diversity: the mean distance between pairs.
        max_samples_per_batch: Samples computed at once.
        callback: Called with each image's answers and measures, for saving and progress.

    Returns:
        One row for each image. In super-resolution the scores hold ``lr_psnr`` (dB) too.
    """
    rows = []
    for index, data in enumerate(loader):
        lq = data["lq"].to(device)
        samples = answer(tower, lq, num_samples, seed, index, max_samples_per_batch=max_samples_per_batch)
        gt = data["gt"][0] if "gt" in data else None
        row = measure(Answers(Path(data["lq_path"][0]).stem, data["lq"][0], samples, gt), metrics, distance, device)
        if tower.spec.placement == "upsample":
            row.scores["lr_psnr"] = consistency.lr_psnr(samples, data["lq"].expand(num_samples, -1, -1, -1)).tolist()
        rows.append(row)
        if callback is not None:
            callback(Answers(row.name, data["lq"][0], samples, gt), row)
    return rows


@torch.no_grad()
def measure(
    answers: Answers, metrics: Mapping[str, Metric], distance: Distance | None, device: torch.device | str = "cpu"
) -> Row:
    """Measure one image's samples.

    Raises:
        TimError: A metric needs a GT and the image has none.
    """
    row = Row(answers.name)
    gt_image = None if answers.gt is None else tensor2img(answers.gt)
    images = [tensor2img(one) for one in answers.samples]
    for name, metric in metrics.items():
        if gt_image is None and metric.needs_gt:
            raise TimError(
                f"val: metrics: {name} compares with the GT, and {answers.name} has none: remove the metric, "
                "or use a dataset with GT"
            )
        row.scores[name] = [float(metric.function(image, gt_image)) for image in images]
    if distance is not None:
        features = [distance.features(one[None].to(device)) for one in answers.samples]
        row.diversity = mean_pair_distance(distance, features)
        if answers.gt is not None:
            gt_features = distance.features(answers.gt[None].to(device))
            row.scores["distance"] = [float(distance.distance(one, gt_features)) for one in features]
    return row


def mean_pair_distance(distance: Distance, features: Sequence[list[Tensor]]) -> float | None:
    """Mean distance over pairs of samples of one input (Zhu et al. 2017); None for a single sample."""
    pairs = [(i, j) for i in range(len(features)) for j in range(i)]
    if not pairs:
        return None
    return float(sum(float(distance.distance(features[i], features[j])) for i, j in pairs) / len(pairs))


def summarise(rows: Sequence[Row], better: Mapping[str, str]) -> dict[str, float]:
    """Reduce rows to means over images: ``NAME`` is the mean over samples, ``NAME_best`` the best of n.

    Args:
        rows: From :func:`evaluate`.
        better: ``higher`` or ``lower`` for each metric; what is not named is ``higher``.

    Returns:
        Also ``lr_psnr_worst`` (the worst sample of all) and ``diversity`` where they were measured.
    """
    result: dict[str, float] = {}
    for name in rows[0].scores if rows else ():
        values = np.array([row.scores[name] for row in rows])  # (images, samples)
        best = values.min(axis=1) if better.get(name) == "lower" else values.max(axis=1)
        result[name], result[f"{name}_best"] = float(values.mean()), float(best.mean())
        if name == "lr_psnr":
            result["lr_psnr_worst"] = float(values.min())
            del result["lr_psnr_best"]
    if rows and rows[0].diversity is not None:
        result["diversity"] = float(np.mean([row.diversity for row in rows]))
    return result
