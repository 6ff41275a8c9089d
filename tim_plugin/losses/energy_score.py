"""The energy score: a proper scoring rule of samples (Szekely and Rizzo; Gneiting and Raftery 2007).

A generator that minimises it in expectation draws from the true distribution of what is compared, as 'engression' does
(Shen and Meinshausen 2024). For that the distance has to be a norm: here the root of a squared difference of features.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor

from tim_plugin.imle.types import DistanceLike, Features
from tim_plugin.losses.distance import WeightedMaps

_TINY = 1e-12  # below any squared difference that matters; keeps the derivative of the root finite at zero


def energy_score(distance: DistanceLike, samples: Sequence[Features], target: Features) -> Tensor:
    """Return the samples' mean distance to the target less half of the mean distance between two of them, (N,).

    Args:
        distance: A squared difference of features, of which the root is taken.
        samples: Features of two or more samples of each of N targets.
        target: Features of the targets, weighted or not; the samples are then weighted alike.
    """
    to_target = [_norm(distance, one, target) for one in samples]
    apart = [_norm(distance, one, _weighted_as(target, other)) for one, other in combinations(samples, 2)]
    return torch.stack(to_target).mean(dim=0) - torch.stack(apart).mean(dim=0) / 2


def _norm(distance: DistanceLike, a: Features, b: Features) -> Tensor:
    return (distance.distance(a, b) + _TINY).sqrt()


def _weighted_as(target: Features, maps: Features) -> Features:
    return WeightedMaps(maps, target.weights) if isinstance(target, WeightedMaps) else maps
