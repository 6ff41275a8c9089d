"""What a search is measured on: an untrained network, random features, made-up examples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from speed.settings import Setting
from tim_plugin.archs.tower_arch import TowerGenerator
from tim_plugin.degradations.base import Observed
from tim_plugin.imle.pyramid import condition_pyramid, target_pyramid
from tim_plugin.imle.types import Condition, DistanceLike, TowerLike
from tim_plugin.utils.trees import take


class Problem(NamedTuple):
    """What searches take first: tower, distance, condition and target pyramids of N examples."""

    tower: TowerLike
    distance: DistanceLike
    conditions: Sequence[Condition]
    targets: Sequence[Tensor]

    @property
    def examples(self) -> int:
        """N."""
        return len(self.targets[0])

    @property
    def device(self) -> torch.device:
        """Where it lies."""
        return self.targets[0].device

    def only(self, index: int) -> Problem:
        """Return the problem of one example."""
        one = slice(index, index + 1)
        return self._replace(conditions=take(self.conditions, one), targets=take(self.targets, one))


def problem_of(tower: TowerGenerator, distance: DistanceLike, setting: Setting, device: str) -> Problem:
    """Return the problem of a setting's examples, the same for the same setting."""
    spec, generator = tower.spec, torch.Generator().manual_seed(0)
    gt = torch.rand(setting.examples, 3, *[setting.lq_px * spec.scale] * 2, generator=generator).to(device)
    lq = torch.rand(setting.examples, 3, setting.lq_px, setting.lq_px, generator=generator).to(device)
    conditions = condition_pyramid(Observed(lq), spec, tower.degradation)
    return Problem(tower, distance, conditions, target_pyramid(gt, spec.num_levels))
