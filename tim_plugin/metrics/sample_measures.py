"""Measures of the samples of one input, as pure functions of distances: how good, how different, how well spread."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from tim_plugin.imle.any_tower import distance_of
from tim_plugin.imle.tensor_checks import check_batch, check_scale, check_tensor
from tim_plugin.imle.types import DistanceLike, Features
from tim_plugin.losses.distance import PerceptualDistance
from tim_plugin.losses.pairs import pair_distances
from tim_plugin.options.plain_checks import require_number
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.plain_numbers import plain_number

CHANNELS = (3, 1)  # of images
FWV_SIGMAS = (0.3, 0.2, 0.15)  # of table 3


@torch.no_grad()
def diversity(images: Tensor, distance: DistanceLike) -> float:
    """Return the mean distance between two samples of one input: LPIPS diversity (Zhu et al. 2017; table 4).

    Args:
        images: (n, 3, H, W) in [0, 1], n at least 2, on the distance's device.
        distance: Such as :class:`tim_plugin.losses.distance.PerceptualDistance`; or a function of two batches of images
            to (N,).

    Returns:
        0 where all samples are alike; the higher, the more they differ.

    Raises:
        TimError: ``images`` are no batch of images in [0, 1], or one image only; or ``distance`` is no distance.
    """
    _require_batch(images, "diversity")
    check_scale(images=images)
    distance = distance_of(distance)
    return pair_mean(pair_distances(distance, features_of_each(distance, images)))


@torch.no_grad()
def fwv(
    images: Tensor,
    gt: Tensor,
    distance: DistanceLike,
    sigma: float = FWV_SIGMAS[0],
    *,
    squared: bool = False,
    reduction: str = "mean",
) -> float:
    """Return the faithfulness-weighted variance of one input's samples (Li et al. 2020; table 3 of the paper).

    Args:
        images: (n, 3, H, W) in [0, 1], n at least 2, on the distance's device.
        gt: Ground truth, (3, H, W) or (1, 3, H, W) in [0, 1], on the same device.
        distance: Such as :class:`tim_plugin.losses.distance.PerceptualDistance`; or a function of two batches of images
            to (N,).
        sigma: Bandwidth, more than 0; the table has 0.3, 0.2 and 0.15.
        squared: See :func:`faithfulness_weighted_variance`.
        reduction: Over samples, ``mean`` or ``sum``.

    Returns:
        The higher, the more the samples vary while they stay near the ground truth.

    Raises:
        TimError: ``images`` are no batch of images in [0, 1], one image only, of another size than ``gt``, or ``gt``,
            ``distance``, ``sigma`` or ``reduction`` is wrong.
    """
    _require_batch(images, "fwv")
    check_tensor("gt", gt)
    gt = gt[None] if gt.dim() == 3 else gt
    check_batch("gt", gt, CHANNELS)
    check_scale(images=images, gt=gt)
    if gt.shape != (1, *images.shape[1:]):
        raise TimError(
            f"fwv: gt has shape {tuple(gt.shape)}, and samples of {tuple(images.shape[1:])} need (1, 3, H, W)"
        )
    distance = distance_of(distance)
    features = features_of_each(distance, images)
    to_gt = distances_to(distance, features, distance.features(gt))
    to_mean = distances_to(distance, features, distance.features(images.mean(dim=0, keepdim=True)))
    return faithfulness_weighted_variance(to_gt, to_mean, sigma, squared=squared, reduction=reduction)


def features_of_each(distance: DistanceLike, images: Tensor) -> list[Features]:
    """Return the features of each of n images (n, 3, H, W), a batch of one at a time."""
    return [distance.features(one[None]) for one in images]


def distances_to(distance: DistanceLike, features: Sequence[Features], target: Features) -> Tensor:
    """Return (n,) distances of n samples to a target, given the features of each (a batch of one)."""
    return torch.tensor([float(distance.distance(one, target)) for one in features])


def distance_maps(distance: PerceptualDistance, samples: Tensor, gt: Tensor) -> Tensor:
    """Return (n, H, W) distances of samples (n, 3, H, W) to a GT (1, 3, H, W), position by position."""
    target, size = distance.features(gt), tuple(gt.shape[-2:])
    return torch.cat([distance.maps(distance.features(one[None]), target, size) for one in samples])


def pair_mean(distances: Tensor) -> float:
    """Return the mean distance over pairs of samples of one input: the LPIPS diversity score (Zhu et al. 2017).

    Args:
        distances: (n, n), symmetric, of each sample to each.

    Raises:
        TimError: There is one sample only, so there is no pair.
    """
    count = len(distances)
    require_several(count, "diversity")
    upper = torch.triu_indices(count, count, offset=1)
    return float(distances[upper[0], upper[1]].double().mean())


def faithfulness_weighted_variance(
    to_gt: Tensor, to_mean: Tensor, sigma: float, *, squared: bool = False, reduction: str = "mean"
) -> float:
    """Return the faithfulness-weighted variance of one input's samples (Li et al. 2020; table 3 of the paper).

    Each sample's distance to the mean sample, weighted by ``exp(-d / (2 sigma^2))`` where d is its distance to the GT.
    The paper gives no formula; this form fits the ratios between the columns of its table 3.

    Args:
        to_gt: (n,) distances of the samples to the GT.
        to_mean: (n,) distances of the samples to their mean.
        sigma: Bandwidth, more than 0.
        squared: Put the distance to the GT squared into the exponent.
        reduction: Over samples, ``mean`` or ``sum``.

    Raises:
        TimError: There is one sample only, or ``sigma`` or ``reduction`` is wrong.
    """
    require_several(len(to_gt), "fwv")
    sigma = plain_number(sigma)
    require_number("fwv: sigma", sigma, float)
    if sigma <= 0:
        raise TimError(f"fwv: sigma {sigma} must be more than 0")
    if reduction not in ("mean", "sum"):
        raise TimError(f"fwv: reduction {reduction!r} must be mean or sum")
    distances = to_gt.double().square() if squared else to_gt.double()
    weighted = torch.exp(-distances / (2 * sigma**2)) * to_mean.double()
    return float(weighted.mean() if reduction == "mean" else weighted.sum())


def space_score(maps: Tensor) -> float:
    """Return how much better the best sample of each position is than the best sample as a whole, in percent.

    The score of the NTIRE challenges 'learning the super-resolution space' (2021, 2022): 100 (G - L) / G, where G is
    the least of the samples' mean distances to the GT and L the mean over positions of the least distance there.

    Args:
        maps: (n, H, W) distances of each sample to the GT, position by position.

    Returns:
        From 0 (all samples are alike) to 100; 0 where a sample equals the GT.

    Raises:
        TimError: There is one sample only.
    """
    require_several(len(maps), "the score of the NTIRE challenge")
    maps = maps.double()
    least_of_means = float(maps.flatten(1).mean(dim=1).min())
    mean_of_least = float(maps.amin(dim=0).mean())
    return 100 * (least_of_means - mean_of_least) / least_of_means if least_of_means > 0 else 0.0


def best_of_curve(distances: Tensor) -> list[float]:
    """Return the expected least of k samples for k = 1 .. n, averaged over inputs.

    The expectation over all choices of k of the n samples, so that the order of samples does not matter.

    Args:
        distances: (inputs, n), of each sample to its GT; the less the better.
    """
    ordered = distances.double().sort(dim=1).values  # the i-th least is that of k samples if the others rank behind it
    count = ordered.shape[1]
    curve = []
    for k in range(1, count + 1):
        weights = [math.comb(count - 1 - i, k - 1) / math.comb(count, k) for i in range(count)]
        curve.append(float((ordered * ordered.new_tensor(weights)).sum(dim=1).mean()))
    return curve


def _require_batch(images: Tensor, what: str) -> None:
    check_tensor("images", images)
    if images.dim() != 4:
        raise TimError(
            f"{what} takes images of shape (n, 3, H, W), the samples of one input, not {tuple(images.shape)}"
        )
    check_batch("images", images, CHANNELS)


def require_several(count: int, what: str) -> None:
    """Raise TimError if there is one sample only."""
    if count < 2:
        raise TimError(f"{what} compares samples with one another and needs at least 2 of each input, not {count}")
