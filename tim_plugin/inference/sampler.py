"""Samples of one input from latents alone: those of all levels are drawn independently (paper, end of section 4.2).

Pure functions of any callable tower. Each level's latents of each sample have a key of their own, so that a sample does
not depend on how many others are drawn, or with whom it shares a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from tim_plugin.archs.folded import folded
from tim_plugin.imle.latents import Empty, Latents, LevelLatent, LevelShape
from tim_plugin.imle.search import TowerLike
from tim_plugin.imle.types import Condition
from tim_plugin.imle.types import coarsest as coarsest_of
from tim_plugin.inference.batch_invariance import BatchInvariant
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.plain_numbers import plain_numbers
from tim_plugin.utils.trees import move, take, tile

LevelSeeds = Sequence[int | None]
Temperature = float | Sequence[float]
HIGHEST_TEMPERATURE = 10.0  # far beyond what any tower has seen in training


def fixed_levels(level_seeds: LevelSeeds | None, num_levels: int) -> list[int | None]:
    """Return which sample each level's latents are taken from, None for a level that is free."""
    return [*(level_seeds or ()), *[None] * num_levels][:num_levels]


def level_temperatures(temperature: Temperature, num_levels: int, option: str = "temperature") -> list[float]:
    """Return each level's temperature, coarse to fine: one for all, or one a level.

    Raises:
        TimError: A value is no number from 0 to :data:`HIGHEST_TEMPERATURE`, or there are not as many as levels.
    """
    values = plain_numbers(temperature)
    values = values if isinstance(values, list) else [values] * num_levels
    if len(values) != num_levels:
        raise TimError(f"{option} has {len(values)} entries: give one for all, or one for each of {num_levels} levels")
    for value in values:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= HIGHEST_TEMPERATURE:
            raise TimError(f"{option} {value!r}: must be a number from 0 (no variety) to {HIGHEST_TEMPERATURE:g}")
    return [float(value) for value in values]


def recorded(temperature: Sequence[float]) -> dict[str, list[float]]:
    """Return what records say of each level's temperature: nothing where it is that of training."""
    return {"temperature": list(temperature)} if set(temperature) != {1.0} else {}


def _level_latents(
    shape: LevelShape,
    seed: int,
    image_key: int | str,
    samples: Sequence[int],
    level: int,
    fixed: int | None,
    empty: Empty,
    temperature: float,
) -> LevelLatent:
    keys = [[(seed, image_key, j if fixed is None else fixed, level)] for j in samples]
    return Latents.from_keys([shape], keys, empty, temperature)[0]


@torch.no_grad()
def sample(
    tower: TowerLike,
    conditions: Sequence[Condition],
    num_samples: int,
    seed: int,
    image_keys: Sequence[int | str] | None = None,
    level_seeds: LevelSeeds | None = None,
    max_samples_per_batch: int = 4,
    callback: Callable[[int], None] | None = None,
) -> Tensor:
    """Return several samples of each of N inputs.

    Args:
        tower: The generator; put it into eval mode if it has one.
        conditions: Condition pyramid of N images.
        num_samples: Samples n of each image.
        seed: Sample j of image i depends on (seed, ``image_keys[i]``, j) alone, not on batch size, order or n.
        image_keys: One for each image; None numbers them from 0.
        level_seeds: At most one entry a level, coarse to fine: number of the sample whose latents every sample has at
            that level. None, or a level beyond the end of the list: each sample has its own.
        max_samples_per_batch: Samples computed at once.
        callback: Called with the number of samples just made.

    Returns:
        (N, n, C, H, W) on the conditions' device, nominally in [0, 1].
    """
    count = coarsest_of(conditions).shape[0]
    keys = range(count) if image_keys is None else image_keys
    sampled = []
    for index, key in enumerate(keys):
        one = take(list(conditions), slice(index, index + 1))
        for images in sample_chunks(tower, one, num_samples, seed, key, level_seeds, max_samples_per_batch):
            sampled.append(images)
            if callback is not None:
                callback(len(images))
    whole = (
        sampled[0] if len(sampled) == 1 else torch.cat(sampled)
    )  # a single one, which may be very large, is not copied
    return whole.unflatten(0, (count, num_samples))  # (N, n, C, H, W)


@torch.no_grad()
def sample_chunks(
    tower: TowerLike,
    conditions: Sequence[Condition],
    num_samples: int,
    seed: int,
    image_key: int | str,
    level_seeds: LevelSeeds | None = None,
    max_samples_per_batch: int = 4,
    temperature: Temperature = 1.0,
) -> Iterator[Tensor]:
    """Give the samples of one input some at a time, so that not all need be kept.

    What all samples share is computed once: the levels below the first whose latents differ, and each normalised
    weight, except those of a network that is too large to have twice.

    Args:
        tower: The generator; one that has ``max_samples_per_batch`` is never given more, and one that has ``empty``
            makes the tensors that its noise is drawn into.
        conditions: Condition pyramid of one image.
        num_samples: How many.
        seed: Sample j depends on (seed, ``image_key``, j) alone.
        image_key: Name or index of the image.
        level_seeds: See :func:`sample`.
        max_samples_per_batch: Samples computed at once.
        temperature: What the latents are multiplied by, in all levels or level by level: 1 is what the tower is
            trained with, more gives more variety, 0 none.

    Yields:
        (m, C, H, W) on the conditions' device, m at most ``max_samples_per_batch``.
    """
    coarsest = coarsest_of(conditions)
    shapes = tower.latent_shapes(*coarsest.shape[-2:])
    fixed = fixed_levels(level_seeds, len(shapes))
    temperatures = level_temperatures(temperature, len(shapes))
    num_shared = fixed.index(None) if None in fixed and num_samples > 1 else len(shapes)
    empty = getattr(tower, "empty", torch.empty)
    at_once = min(max_samples_per_batch, getattr(tower, "max_samples_per_batch", max_samples_per_batch))

    def run(level: int, numbers: Sequence[int], state: Any) -> tuple[Tensor, Any]:
        # Drawn level by level, because the noise of a very large image is large itself.
        drawn = _level_latents(shapes[level], seed, image_key, numbers, level, fixed[level], empty, temperatures[level])
        condition = tile(conditions[level], len(numbers))
        with BatchInvariant():
            return tower.forward_level(level, condition, move(drawn, coarsest.device), state)

    tower = folded(tower)
    shared, shared_state = None, None
    for level in range(num_shared):
        shared, shared_state = run(level, [0], shared_state)
    for start in range(0, num_samples, at_once):
        numbers = range(start, min(start + at_once, num_samples))
        image, state = (tile(one, len(numbers)) for one in (shared, shared_state))
        for level in range(num_shared, len(shapes)):
            image, state = run(level, numbers, state)
        yield image
