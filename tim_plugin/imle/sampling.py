"""Many answers for one input: all levels' codes drawn independently, each from its own key (paper, end of 4.2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn.utils import parametrize

from tim_plugin.imle.conditions import Condition
from tim_plugin.imle.conditions import coarsest as coarsest_of
from tim_plugin.imle.latents import Latents, LevelShape
from tim_plugin.imle.selection import Tower
from tim_plugin.imle.trees import map_tensors, take

LevelSeeds = Sequence[int | None]


def sample_latents(
    shapes: Sequence[LevelShape],
    seed: int,
    image_key: int | str,
    samples: Sequence[int],
    level_seeds: LevelSeeds | None = None,
) -> Latents:
    """Draw the codes of some samples of one image.

    The code of level k of sample j is a function of (seed, image, j, k). With ``level_seeds`` the codes of level k are
    those of sample ``level_seeds[k]`` for every sample, so the answer of that level is kept; None leaves a level free.

    Args:
        shapes: From the tower's ``latent_shapes``.
        seed: The run's seed.
        image_key: Name or index of the image, the same whatever else is sampled with it.
        samples: Numbers j of the samples.
        level_seeds: At most one entry a level; levels beyond its end are free.
    """
    fixed = [*(level_seeds or ()), *[None] * len(shapes)][: len(shapes)]
    keys = [[(seed, image_key, j if fixed[k] is None else fixed[k], k) for k in range(len(shapes))] for j in samples]
    return Latents.from_keys(shapes, keys)


@torch.no_grad()
def sample(
    tower: Tower,
    conditions: Sequence[Condition],
    num_samples: int,
    seed: int,
    image_keys: Sequence[int | str] | None = None,
    level_seeds: LevelSeeds | None = None,
    max_samples_per_batch: int = 4,
    callback: Callable[[int], None] | None = None,
) -> Tensor:
    """Give several answers for each input.

    Args:
        tower: The generator (called as a whole); put it into eval mode if it has one.
        conditions: Condition pyramid of N images.
        num_samples: Answers n for each image.
        seed: Sample j of image i depends on (seed, ``image_keys[i]``, j) alone, not on batch size, order or n.
        image_keys: One for each image; None numbers them from 0.
        level_seeds: See :func:`sample_latents`.
        max_samples_per_batch: Samples computed at once.
        callback: Called with the number of samples just made.

    Returns:
        (N, n, C, H, W) on the conditions' device, nominally in [0, 1].
    """
    coarsest = coarsest_of(conditions)
    shapes = tower.latent_shapes(*coarsest.shape[-2:])
    keys = range(coarsest.shape[0]) if image_keys is None else image_keys
    answers = []
    with parametrize.cached():
        for index, key in enumerate(keys):
            one = take(list(conditions), slice(index, index + 1))
            for start in range(0, num_samples, max_samples_per_batch):
                numbers = range(start, min(start + max_samples_per_batch, num_samples))
                latents = sample_latents(shapes, seed, key, numbers, level_seeds).to(coarsest.device)
                repeated = map_tensors(partial(_expanded, len(numbers)), one)
                answers.append(tower(repeated, latents)[-1])
                if callback is not None:
                    callback(len(numbers))
    return torch.cat(answers).unflatten(0, (-1, num_samples))  # (N, n, C, H, W)


def _expanded(count: int, tensor: Tensor) -> Tensor:
    return tensor.expand(count, *[-1] * (tensor.dim() - 1))
