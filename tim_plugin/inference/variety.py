"""Which of several samples differ most from one another."""

from __future__ import annotations

import torch
from torch import Tensor

from tim_plugin.imle.types import DistanceLike
from tim_plugin.losses.pairs import pair_distances


def most_different(images: Tensor, k: int, distance: DistanceLike | None = None) -> list[int]:
    """Return which k of n samples (n, C, H, W) lie far from one another, as :meth:`Samples.most_different` chooses.

    Args:
        images: In [0, 1].
        k: From 1 to n.
        distance: One that is open already; None: ``tim_small``.
    """
    return farthest_points(_distances(images, distance), k)


@torch.no_grad()
def _distances(images: Tensor, distance: DistanceLike | None) -> Tensor:
    """(n, n) distances of samples (n, C, H, W) to one another."""
    if distance is None:
        from tim_plugin.losses.distance import PerceptualDistance  # here: it imports torchvision

        distance = PerceptualDistance("tim_small")
    return pair_distances(distance, [distance.features(one[None]) for one in images])


def farthest_points(distances: Tensor, k: int) -> list[int]:
    """Choose k of n points that lie far from one another.

    Args:
        distances: (n, n), symmetric, zero on the diagonal.
        k: From 1 to n.

    Returns:
        Their indices in the order of choice: the two farthest apart, then each time the one whose nearest chosen point
        is farthest; of equal ones the first.
    """
    chosen = [int(distances.argmax()) // len(distances)]
    while len(chosen) < k:
        nearest = distances[:, chosen].amin(dim=1)
        nearest[chosen] = -1
        chosen.append(int(nearest.argmax()))
    return chosen
