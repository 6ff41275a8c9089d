"""From an input's samples to figures of how well they are distributed: in pixels, and in the features of a distance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tim_plugin.metrics.posterior import (
    coverage,
    fair_crps,
    fair_energy_score,
    pixel_distances,
    rank_histogram,
    spread_over_error,
    variance_and_error,
    widest,
)

SPACES = ("pixels", "features")
LEVELS = (0.5, 0.8, 0.9)
LEAST_SAMPLES = 3  # whose range is the first of these
AT_ONCE = 1 << 22  # values of all samples, so that memory does not grow with the features
ABOUT = "fair energy score and CRPS (less is better); spread over error is 1 and coverage nominal for a true posterior"
Row = dict[str, dict[str, Any]]


class Coordinates(NamedTuple):
    """(n, D) samples, (D,) truths, and what each of these coordinates weighs."""

    samples: Tensor
    truth: Tensor
    weight: float


def posterior_row(
    metrics: Sequence[str],
    images: tuple[Tensor, Tensor],
    features: tuple[Sequence[list[Tensor]], list[Tensor]],
    distances: tuple[Tensor, Tensor | None],
) -> Row:
    """Measure the samples of one input; :func:`posterior_figures` reduces rows.

    Args:
        metrics: What is wanted, of :data:`tim_plugin.utils.metric_names.OF_POSTERIOR` and others.
        images: Samples (n, C, H, W) and GT (1, C, H, W), in [0, 1].
        features: Of each sample and of the GT, as a :class:`~tim_plugin.losses.distance.PerceptualDistance` has them.
        distances: (n,) of the samples to the GT and (n, n) to one another, by that distance: squared Euclidean ones of
            the features, so that their roots make a proper energy score. The second is of use for that only.

    Raises:
        TimError: There is one sample only.
    """
    samples, gt = images
    spaces = {"pixels": _pixels(samples, gt), "features": _features(*features)}
    row = {space: _sums(metrics, parts, len(samples)) for space, parts in spaces.items()}
    if "energy_score" in metrics:
        row["pixels"]["energy_score"] = fair_energy_score(*pixel_distances(samples, gt))
        row["features"]["energy_score"] = fair_energy_score(*(one.double().sqrt() for one in distances))
    return row


def posterior_figures(rows: Sequence[Row], metrics: Sequence[str]) -> dict[str, Any]:
    """Return figures over all inputs by metric and space: means of scores, the spread's ratio, coverage, ranks.

    Coverage is of those of :data:`LEVELS` that the number of samples allows: 80 % from 9 samples on, 90 % from 19.

    Args:
        rows: Of :func:`posterior_row`, one for each input, of the same number of samples.
        metrics: As there.
    """
    figures: dict[str, Any] = {
        name: {space: _mean(rows, space, name) for space in SPACES}
        for name in ("energy_score", "crps")
        if name in metrics
    }
    if "spread_over_error" in metrics:
        figures["spread_over_error"] = {
            space: spread_over_error(
                _mean(rows, space, "variance"), _mean(rows, space, "squared_error"), rows[0][space]["count"]
            )
            for space in SPACES
        }
    if "coverage" in metrics:
        ranks = {space: sum(row[space]["ranks"] for row in rows) for space in SPACES}
        levels = [one for one in LEVELS if one <= widest(rows[0]["pixels"]["count"])]
        figures["coverage"] = {
            space: {f"{level:.0%}": coverage(one, level) for level in levels} for space, one in ranks.items()
        }
        figures["rank_histogram"] = {space: _shares(one) for space, one in ranks.items()}
    return figures


def _sums(metrics: Sequence[str], parts: Iterator[Coordinates], count: int) -> dict[str, Any]:
    """Sum up over coordinates, each with its weight; the ranks (n + 1,) likewise."""
    found: dict[str, Any] = {"count": count, "crps": 0.0, "variance": 0.0, "squared_error": 0.0}
    found["ranks"] = torch.zeros(count + 1, dtype=torch.float64)
    for samples, truth, weight in parts:
        if "crps" in metrics:
            found["crps"] += weight * float(fair_crps(samples, truth).sum())
        if "spread_over_error" in metrics:
            variance, squared_error = variance_and_error(samples, truth)
            found["variance"] += weight * float(variance.sum())
            found["squared_error"] += weight * float(squared_error.sum())
        if "coverage" in metrics:
            found["ranks"] += weight * rank_histogram(samples, truth).cpu()
    return found


def _pixels(samples: Tensor, gt: Tensor) -> Iterator[Coordinates]:
    yield from _split(samples.flatten(1), gt.flatten(), 1 / gt.numel())


def _features(features: Sequence[list[Tensor]], target: list[Tensor]) -> Iterator[Coordinates]:
    """Give each layer's features, weighted as the distance does: mean over positions, sum over channels and layers."""
    for layer, truth in enumerate(target):
        positions = truth.shape[-2] * truth.shape[-1]
        yield from _split(torch.cat([one[layer] for one in features]).flatten(1), truth.flatten(), 1 / positions)


def _split(samples: Tensor, truth: Tensor, weight: float) -> Iterator[Coordinates]:
    step = max(AT_ONCE // len(samples), 1)
    for some, true in zip(samples.split(step, dim=1), truth.split(step), strict=True):
        yield Coordinates(some.double(), true.double(), weight)


def _mean(rows: Sequence[Row], space: str, name: str) -> float:
    return float(np.mean([row[space][name] for row in rows]))


def _shares(ranks: Tensor) -> list[float]:
    total = float(ranks.sum())
    return (ranks / total).tolist() if total else [1 / len(ranks)] * len(ranks)
