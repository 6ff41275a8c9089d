"""What :func:`tim_plugin.imle.search` makes of the towers and distances that it is given: also of plain functions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from tim_plugin.imle.latents import Latents, LevelLatent, LevelShape
from tim_plugin.imle.types import Condition, DistanceLike, TowerLike
from tim_plugin.utils.errors import TimError

Shape = tuple[int, ...]


def network_of(tower: Any) -> Any:
    """Return what has ``forward_level`` and ``latent_shapes``: a tower, or what it has as ``network``.

    Raises:
        TimError: It has neither.
    """
    for one in (tower, getattr(tower, "network", None)):
        if hasattr(one, "forward_level") and hasattr(one, "latent_shapes"):
            return one
    raise TimError(
        f"{type(tower).__name__} has no forward_level and latent_shapes, as a TowerGenerator has: for a function of "
        "(lq, latents) give latent_shapes too, such as latent_shapes=(64,), to search; in place of generate call it"
    )


class FunctionTower:
    """A function of (lq, latents) as a tower of one level. All its latents stand in one long style vector.

    Args:
        function: Maps inputs and latents, batch first, to images (N, C, H, W).
        shapes: Shape of the latents without the batch, such as ``(64,)``; or a list of shapes.

    Raises:
        TimError: ``shapes`` is neither.
    """

    def __init__(self, function: Callable[[Any, Any], Tensor], shapes: Shape | Sequence[Shape]) -> None:
        self.function = function
        self.single = all(isinstance(one, int) for one in shapes)
        self.shapes = [tuple(shapes)] if self.single else [tuple(shape) for shape in shapes]
        if not self.shapes or not all(isinstance(side, int) and side > 0 for shape in self.shapes for side in shape):
            raise TimError(f"latent_shapes {shapes!r}: give a shape without the batch, such as (64,), or a list")
        self.lengths = [math.prod(shape) for shape in self.shapes]

    def latent_shapes(self, *size: int) -> list[LevelShape]:
        """Return the one level's shapes, whatever the input's size."""
        return [LevelShape((0, 1, 1), (sum(self.lengths),))]

    def forward_level(
        self, level: int, condition: Condition, latent: LevelLatent, state: Any = None
    ) -> tuple[Tensor, Any]:
        """Call the function."""
        return self.function(condition.image, self.unpacked([latent])), None

    def unpacked(self, latents: Latents | Sequence[LevelLatent]) -> Tensor | tuple[Tensor, ...]:
        """Return the latents in the shapes that the function takes."""
        parts = latents[0].style.split(self.lengths, dim=1)
        tensors = tuple(part.unflatten(1, shape) for part, shape in zip(parts, self.shapes, strict=True))
        return tensors[0] if self.single else tensors


class SizeChecked:
    """A tower whose images must have the shape of their targets.

    Args:
        tower: The tower.
        targets: (N, C, H_k, W_k) of each level.
    """

    def __init__(self, tower: TowerLike, targets: Sequence[Tensor]) -> None:
        self.tower, self.shapes = tower, [tuple(target.shape[1:]) for target in targets]

    def latent_shapes(self, *size: int) -> list[LevelShape]:
        """Return the tower's own."""
        return self.tower.latent_shapes(*size)

    def forward_level(
        self, level: int, condition: Condition, latent: LevelLatent, state: Any = None
    ) -> tuple[Tensor, Any]:
        """Run the tower's level.

        Raises:
            TimError: Its image has another shape than the target.
        """
        image, state = self.tower.forward_level(level, condition, latent, state)
        wanted = (len(latent.style), *self.shapes[level])
        if tuple(getattr(image, "shape", ())) != wanted:
            where = f"level {level + 1} of the tower" if len(self.shapes) > 1 else "the tower"
            raise TimError(f"{where} gives {_described(image)}: of this gt it should be {wanted}")
        return image, state


class FunctionDistance:
    """A function of two batches of images as a distance; an image is its own features.

    Args:
        function: Maps images (N, C, H, W) twice to (N,), or to (N, 1, 1, 1) as ``lpips.LPIPS`` does.
    """

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        if not callable(function):
            raise TimError(f"distance is {_described(function)}: give a PerceptualDistance or a function of two images")
        self.function = function

    def features(self, images: Tensor) -> Tensor:
        """Return the images."""
        return images

    def distance(self, a: Tensor, b: Tensor) -> Tensor:
        """Return (N,).

        Raises:
            TimError: The function gives something else, such as the mean over the batch.
        """
        found = self.function(a, b)
        if not isinstance(found, Tensor) or found.shape[:1] != a.shape[:1] or found.numel() != len(a):
            raise TimError(f"distance gives {_described(found)} for {len(a)} images: one number each is ({len(a)},)")
        return found.flatten()


def distance_of(distance: Any) -> DistanceLike:
    """Return an object with ``features`` and ``distance`` as it is, a function as such an object."""
    is_complete = hasattr(distance, "features") and hasattr(distance, "distance")
    return distance if is_complete else FunctionDistance(distance)


def _described(value: Any) -> str:
    return f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
