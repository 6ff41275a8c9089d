"""Validation: each image of a loader is sampled several times, and the samples are measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from basicsr.utils import tensor2img
from torch import nn

from tim_plugin.imle.types import DistanceLike
from tim_plugin.inference.image_samples import SampledImage, sample_loader
from tim_plugin.losses.pairs import pair_distances
from tim_plugin.metrics.image_metrics import Metric
from tim_plugin.metrics.sample_measures import features_of_each, pair_mean
from tim_plugin.metrics.summary import Row
from tim_plugin.options.metric_checks import check_size
from tim_plugin.utils.errors import TimError


def evaluate(
    tower: nn.Module,
    loader: Iterable[Mapping[str, Any]],
    metrics: Mapping[str, Metric],
    num_samples: int,
    seed: int,
    *,
    device: torch.device | str = "cpu",
    distance: DistanceLike | None = None,
    max_samples_per_batch: int = 4,
    callback: Callable[[SampledImage, Row], None] | None = None,
    consistency: str | None = None,
    indices: Iterable[int] | None = None,
    leave_out: Callable[[str], None] | None = None,
) -> list[Row]:
    """Sample and measure each image of a loader.

    Args:
        tower: The generator, in eval mode.
        loader: Batches of one with BasicSR's keys ``lq``, ``lq_path`` and maybe ``gt`` and ``given``.
        metrics: Measured for each sample where there is a GT.
        num_samples: Samples for each image.
        seed: Sample j of the image with index i depends on (seed, i, j) alone.
        device: The tower's device.
        distance: Adds ``distance`` to GT for each sample, and the samples' diversity: the mean distance between pairs.
        max_samples_per_batch: Samples computed at once.
        callback: Called with each image's samples and measures, for saving and progress.
        consistency: See :func:`tim_plugin.inference.finishing.finish`.
        indices: Of the loader's images, where it gives some of the images only; None counts from 0.
        leave_out: Told why an image that cannot be read, sampled or measured is left out; None leaves none out.

    Returns:
        One row for each image that is not left out. The scores also hold the degradation's measures of consistency with
        the input, such as ``lr_psnr`` (dB) in super-resolution.

    Raises:
        TimError: An image cannot be read, sampled or measured, and ``leave_out`` is None.
    """
    rows = []
    images = sample_loader(
        tower, loader, num_samples, seed, device, max_samples_per_batch, consistency, indices, leave_out
    )
    for sampled, consistent in images:
        try:
            row = measure(sampled, metrics, distance, device)
        except TimError as error:
            if leave_out is None:
                raise
            leave_out(str(error))
            continue
        row.scores.update(consistent)
        rows.append(row)
        if callback is not None:
            callback(sampled, row)
    return rows


@torch.no_grad()
def measure(
    sampled: SampledImage,
    metrics: Mapping[str, Metric],
    distance: DistanceLike | None,
    device: torch.device | str = "cpu",
) -> Row:
    """Measure one image's samples.

    Raises:
        TimError: A metric needs a GT and the image has none.
    """
    row = Row(sampled.name)
    _measure_pixels(row, sampled, metrics)
    if distance is not None:
        _measure_distances(row, sampled, distance, device)
    return row


def _measure_pixels(row: Row, sampled: SampledImage, metrics: Mapping[str, Metric]) -> None:
    gt_image = None if sampled.gt is None else tensor2img(sampled.gt)
    images = [tensor2img(one) for one in sampled.samples]
    for name, metric in metrics.items():
        if gt_image is None and metric.needs_gt:
            raise TimError(
                f"val: metrics: {name} compares with the GT, and {sampled.name} has none: remove the metric, "
                "or use a dataset with GT"
            )
        check_size(name, metric.options, *images[0].shape[:2], where=sampled.name)
        if metric.of_all:
            row.of_all[name] = float(metric.function(images, gt_image))
        else:
            row.scores[name] = [float(metric.function(image, gt_image)) for image in images]


def _measure_distances(row: Row, sampled: SampledImage, distance: DistanceLike, device: torch.device | str) -> None:
    features = features_of_each(distance, sampled.samples.to(device))
    if len(features) > 1:
        row.of_all["diversity"] = pair_mean(pair_distances(distance, features))
    if sampled.gt is not None:
        gt_features = distance.features(sampled.gt[None].to(device))
        row.scores["distance"] = [float(distance.distance(one, gt_features)) for one in features]
