"""What a search needs of a generator and of a distance."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor

from tim_plugin.imle.latents import LevelLatent, LevelShape
from tim_plugin.imle.types import Condition
from tim_plugin.losses.distance import Features, Weighted


class Tower(Protocol):
    """What a search needs of a generator."""

    def forward_level(
        self, level: int, condition: Condition, latent: LevelLatent, state: Any = None
    ) -> tuple[Tensor, Any]:
        """Run one level."""

    def latent_shapes(self, height: int, width: int) -> list[LevelShape]:
        """Shapes of each level's codes."""


class Distance(Protocol):
    """What a search needs of a distance: features once, then one number per item.

    To screen candidates it also needs ``early_features``, of the same signature as ``features``: a cheap part of them.
    """

    def features(self, images: Tensor | Weighted) -> Features:
        """Features of images (N, C, H, W), batch first."""

    def distance(self, a: Features, b: Features) -> Tensor:
        """Distances (N,), weighted if ``b`` are features of a weighted target."""
