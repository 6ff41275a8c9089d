"""Distances of several images to one another."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tim_plugin.imle.types import DistanceLike, Features


def pair_distances(distance: DistanceLike, features: Sequence[Features]) -> Tensor:
    """Return (n, n) distances of n samples to one another, given the features of each (a batch of one)."""
    found = torch.zeros(len(features), len(features))
    for i, one in enumerate(features):
        for j in range(i):
            found[i, j] = found[j, i] = float(distance.distance(one, features[j]))
    return found
