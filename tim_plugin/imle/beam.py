"""Hierarchical search that keeps several winners a level, where the paper keeps one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils import parametrize

from tim_plugin.imle.conditions import Condition, coarsest
from tim_plugin.imle.distance import Weighted
from tim_plugin.imle.latents import Latents, LevelLatent
from tim_plugin.imle.selection import (
    Callback,
    Distance,
    Selection,
    Tower,
    chunks_of_candidates,
    rank_keys,
    require_finite,
    shapes_for,
)
from tim_plugin.imle.trees import join, take, tile


class _Kept(NamedTuple):
    """The nearest candidates of a level so far, K an example; item k of example n stands at k * N + n.

    ``key`` is compared; ``parent`` is the item of the level below that the candidate builds on.
    """

    key: Tensor
    total: Tensor
    own: Tensor
    parent: Tensor
    latent: LevelLatent
    state: Any


@torch.no_grad()
def beam(
    tower: Tower,
    distance: Distance,
    conditions: Sequence[Condition],
    targets: Sequence[Tensor | Weighted],
    num_candidates: Sequence[int],
    generator: torch.Generator,
    max_candidates_per_batch: int = 20,
    callback: Callback | None = None,
    reject_radius: Sequence[float] | None = None,
    width: int = 2,
) -> Selection:
    """Keep the ``width`` best of each level by the sum of distances so far, and divide the next level's candidates.

    Arguments and result as for :func:`tim_plugin.imle.selection.hierarchical`, which this equals with width 1; modules
    are evaluated as often. ``num_candidates`` of every level but the first are divisible by ``width``.
    """
    shapes, batch_size = shapes_for(tower, conditions), len(coarsest(conditions))
    kept, latents, distances = None, [], []
    with parametrize.cached():
        for level, (condition, target) in enumerate(zip(conditions, targets, strict=True)):
            prefixes = 1 if kept is None else len(kept.key) // batch_size
            radius = 0.0 if reject_radius is None else reject_radius[level]
            features, best = distance.features(target), None
            parent = torch.arange(prefixes * batch_size, device=coarsest(conditions).device)
            for done, (latent,) in chunks_of_candidates(
                shapes[level : level + 1],
                num_candidates[level] // prefixes,
                prefixes * batch_size,
                generator,
                max(max_candidates_per_batch, prefixes * batch_size),
            ):
                times = len(latent.style) // len(parent)
                state = None if kept is None else tile(kept.state, times)
                image, new = tower.forward_level(level, tile(condition, times * prefixes), latent, state)
                own = distance.distance(distance.features(image), tile(features, times * prefixes))
                before = torch.zeros_like(own) if kept is None else kept.total.repeat(times)
                chunk = _Kept(rank_keys(own, radius) + before, own + before, own, parent.repeat(times), latent, new)
                best = _nearest(chunk if best is None else join([best, chunk]), batch_size, width)
                if callback is not None:
                    callback(level, done * prefixes)
            require_finite(best.own, level)
            latents = [take(one, best.parent) for one in latents] + [best.latent]
            distances = [take(one, best.parent) for one in distances] + [best.own]
            kept = best
    first = slice(0, batch_size)  # the nearest of each example stands in front
    chosen = Latents([take(one, first) for one in latents])
    found = torch.stack([one[first] for one in distances], dim=1)
    return Selection(chosen, found, tuple(batch_size * m for m in num_candidates))


def _nearest(items: _Kept, batch_size: int, width: int) -> _Kept:
    """Reduce to the nearest ``width`` of each example, in order."""
    keys = items.key.view(-1, batch_size)
    order = keys.argsort(dim=0, stable=True)[:width]  # (K, N)
    return take(items, (order * batch_size + torch.arange(batch_size, device=keys.device)).flatten())
