"""What a search passes about: a level's condition and target, and what it needs of a tower and of a distance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from tim_plugin.imle.latents import LevelLatent, LevelShape

Features = Any  # what a distance compares: a tensor, or lists, tuples and dicts of tensors with the batch first


class Condition(NamedTuple):
    """One level's part of the input; all tensors have the batch first.

    Attributes:
        image: (N, C, H_k, W_k): what the level reads, or None where it reads the level below only.
        given: What the projection of the level's image needs, or None where nothing is projected.
    """

    image: Tensor | None
    given: dict[str, Tensor] | None = None


class Weighted(NamedTuple):
    """Targets (N, C, H, W) and what each pixel counts: (N, 1, H, W), mean about 1."""

    image: Tensor
    weight: Tensor


class Known(NamedTuple):
    """Targets, and their features where these were computed once for a search and the steps after it."""

    features: Features
    target: Tensor | Weighted


class TowerLike(Protocol):
    """What a search needs of a generator."""

    def forward_level(
        self, level: int, condition: Condition, latent: LevelLatent, state: Any = None
    ) -> tuple[Tensor, Any]:
        """Run one level: (image (N, C, H, W), what the next level builds on)."""

    def latent_shapes(self, height: int, width: int) -> list[LevelShape]:
        """Shapes of each level's latents for an input of height x width pixels."""


class DistanceLike(Protocol):
    """What a search needs of a distance: features once, then one number per item."""

    def features(self, images: Tensor | Weighted) -> Features:
        """Features of images (N, C, H, W), batch first."""

    def distance(self, a: Features, b: Features) -> Tensor:
        """Distances (N,), weighted if ``b`` are features of a weighted target."""


def features_of_target(distance: DistanceLike, target: Tensor | Weighted | Known) -> Features:
    """Return the features of a target: those that are known, or else as the distance computes them."""
    return target.features if isinstance(target, Known) else distance.features(target)


def coarsest(conditions: Sequence[Condition]) -> Tensor:
    """Return what the first level reads, which gives batch size and resolution."""
    return conditions[0].image
