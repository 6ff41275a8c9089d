"""What stands in for a generator of levels and runs them in another way."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from tim_plugin.archs.levels import all_levels
from tim_plugin.imle.latents import Latents, LevelLatent, LevelShape
from tim_plugin.imle.types import Condition


def full_precision(device: torch.device) -> AbstractContextManager:
    """Return a context without autocast: bfloat16's 8 bits of mantissa are too few for Lab and for projections."""
    available = torch.amp.is_autocast_available(device.type)
    return torch.autocast(device.type, enabled=False) if available else nullcontext()


class WrappedTower:
    """Stands in for a generator and runs its levels in another way; subclasses override :meth:`forward_level`."""

    def __init__(self, tower: nn.Module | WrappedTower) -> None:
        self.tower = tower
        self.spec, self.degradation = tower.spec, tower.degradation

    def __call__(self, conditions: Sequence[Condition], latents: Latents) -> list[Tensor]:
        """Run all levels."""
        return all_levels(self, conditions, latents)

    def forward_level(
        self, level: int, condition: Condition, latent: LevelLatent, state: Any = None
    ) -> tuple[Tensor, Any]:
        """Run one level; as :meth:`tim_plugin.archs.tower_arch.TowerGenerator.forward_level`."""
        return self.tower.forward_level(level, condition, latent, state)

    def empty(self, *shape: int) -> Tensor:
        """Return a tensor of undefined values for noise, where the generator wants it."""
        return getattr(self.tower, "empty", torch.empty)(*shape)

    def latent_shapes(self, height: int, width: int) -> list[LevelShape]:
        """Return the generator's."""
        return self.tower.latent_shapes(height, width)


class HalfPrecision(WrappedTower):
    """Runs a generator's levels under autocast to bfloat16.

    Args:
        tower: The generator; heads and projections stay in float32, see its ``forward_level``.
        device_type: Of the device that computes: ``cpu`` or ``cuda``.
    """

    def __init__(self, tower: nn.Module | WrappedTower, device_type: str) -> None:
        super().__init__(tower)
        self.device_type = device_type

    def forward_level(
        self, level: int, condition: Condition, latent: LevelLatent, state: Any = None
    ) -> tuple[Tensor, Any]:
        """Run one level; the image is float32."""
        with torch.autocast(self.device_type, torch.bfloat16):
            image, state = self.tower.forward_level(level, condition, latent, state)
        return image.float(), state
