"""What a search runs: a tower and a distance that count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from tim_plugin.imle.latents import LevelLatent
from tim_plugin.imle.search import DistanceLike, TowerLike
from tim_plugin.imle.types import Condition


class Counter:
    """Counts a tower's level evaluations (calls, items, at most at once) and passes through the distance's features.

    Args:
        tower: The tower.
        distance: The distance.
        targets: Passes of these are counted by themselves too.
    """

    def __init__(self, tower: TowerLike, distance: DistanceLike, targets: Sequence[Tensor]) -> None:
        self.tower, self.measure, self.targets = tower, distance, targets
        self.evaluations = [0] * len(targets)
        self.at_once = [0] * len(targets)
        self.calls = [0] * len(targets)
        self.target_passes, self.passes = 0, 0

    def latent_shapes(self, height: int, width: int) -> Any:
        """Shapes of each level's latents."""
        return self.tower.latent_shapes(height, width)

    def forward_level(self, level: int, condition: Condition, latent: LevelLatent, state: Any = None) -> Any:
        """Run one level."""
        self.calls[level] += 1
        self.evaluations[level] += len(latent.style)
        self.at_once[level] = max(self.at_once[level], len(latent.style))
        return self.tower.forward_level(level, condition, latent, state)

    def features(self, images: Tensor) -> list[Tensor]:
        """Features."""
        self.target_passes += any(images is target for target in self.targets)
        self.passes += len(images)
        return self.measure.features(images)

    def distance(self, a: list[Tensor], b: list[Tensor]) -> Tensor:
        """Distances (N,)."""
        return self.measure.distance(a, b)
