"""Wrappers that have a generator's interface and run its levels in another way, such as in half precision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tim_plugin.archs.levels import all_levels
from tim_plugin.imle.latents import Latents, LevelLatent, LevelShape
from tim_plugin.imle.types import Condition


class WrappedTower:
    """Has the interface of the generator that it wraps; subclasses run levels in another way by :meth:`forward_level`.

    Args:
        tower: A generator of levels (a tower, a compared system's network), or another wrapper.
    """

    def __init__(self, tower: nn.Module | WrappedTower) -> None:
        self.tower = tower
        self.spec, self.degradation = tower.spec, tower.degradation

    def __call__(self, conditions: Sequence[Condition], latents: Latents) -> list[Tensor]:
        """Return the image (N, C, H, W) of each level, coarse to fine, for conditions and latents of each level."""
        return all_levels(self, conditions, latents)

    def forward_level(
        self, level: int, condition: Condition, latent: LevelLatent, state: Any = None
    ) -> tuple[Tensor, Any]:
        """Return a level's image and the state for the next level, by the wrapped generator's ``forward_level``."""
        return self.tower.forward_level(level, condition, latent, state)

    def empty(self, *shape: int) -> Tensor:
        """Return a tensor of undefined values that noise is written to, where the generator keeps large tensors."""
        return getattr(self.tower, "empty", torch.empty)(*shape)

    def latent_shapes(self, height: int, width: int) -> list[LevelShape]:
        """Return the shapes of the wrapped generator's latents for a condition of ``height`` x ``width`` pixels."""
        return self.tower.latent_shapes(height, width)


class HalfPrecision(WrappedTower):
    """Runs a generator's levels under autocast to bfloat16.

    Args:
        tower: The generator, whose ``forward_level`` keeps heads and projections in float32.
        device_type: Of the device that computes: ``cpu`` or ``cuda``.
    """

    def __init__(self, tower: nn.Module | WrappedTower, device_type: str) -> None:
        super().__init__(tower)
        self.device_type = device_type

    def forward_level(
        self, level: int, condition: Condition, latent: LevelLatent, state: Any = None
    ) -> tuple[Tensor, Any]:
        """Return a level's image, in float32, and the state for the next level."""
        with torch.autocast(self.device_type, torch.bfloat16):
            image, state = self.tower.forward_level(level, condition, latent, state)
        return image.float(), state
