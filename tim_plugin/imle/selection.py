"""The search of conditional IMLE: which codes give the output nearest to the observed image (paper, section 4.2).

:func:`vanilla` draws all levels' codes at once; :func:`hierarchical` chooses the coarsest level's code first, keeps it,
then searches the next. Both take any tower-like object with ``forward_level`` and ``latent_shapes``, stream the
candidates in chunks, keep the running best, and draw each candidate by itself, so that neither memory nor the codes
depend on how many are searched at a time. Lower levels are never run again for a candidate of a higher one, and each
target's features are computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn.utils import parametrize

from tim_plugin.errors import NonFiniteError
from tim_plugin.imle.conditions import Condition, coarsest
from tim_plugin.imle.distance import Features, Weighted
from tim_plugin.imle.latents import Latents, LevelLatent, LevelShape, draw_level
from tim_plugin.imle.trees import choose, join, take, tile


class Tower(Protocol):
    """What a search needs of a generator."""

    def forward_level(
        self, level: int, condition: Condition, latent: LevelLatent, state: Any = None
    ) -> tuple[Tensor, Any]:
        """Run one level."""

    def latent_shapes(self, height: int, width: int) -> list[LevelShape]:
        """Shapes of each level's codes."""


class Distance(Protocol):
    """What a search needs of a distance: features once, then one number per item."""

    def features(self, images: Tensor | Weighted) -> Features:
        """Features of images (N, C, H, W), batch first."""

    def distance(self, a: Features, b: Features) -> Tensor:
        """Distances (N,), weighted if ``b`` are features of a weighted target."""


class Selection(NamedTuple):
    """What a search found.

    Attributes:
        latents: The selected codes of the N examples, all levels.
        distances: (N, L) distance of the selected candidate at each level.
        evaluations: For each level, how many items its module was run on.
    """

    latents: Latents
    distances: Tensor
    evaluations: tuple[int, ...]


class _Best(NamedTuple):
    """The nearest candidates so far, K an example, nearest first: item k of example n stands at k * N + n.

    ``key`` is compared, the rest is kept; ``parent`` is the item of the level below that a candidate builds on.
    """

    key: Tensor
    distances: Tensor
    latents: tuple[LevelLatent, ...]
    state: Any = None
    parent: Tensor | None = None


Callback = Callable[[int, int], None]
REJECTED = 1e6  # added to the key of a rejected candidate: above any distance


@torch.no_grad()
def hierarchical(
    tower: Tower,
    distance: Distance,
    conditions: Sequence[Condition],
    targets: Sequence[Tensor | Weighted],
    num_candidates: Sequence[int],
    generator: torch.Generator,
    max_candidates_per_batch: int = 20,
    callback: Callback | None = None,
    reject_radius: Sequence[float] | None = None,
    width: int = 1,
) -> Selection:
    """Choose level by level, coarse to fine, each time the code whose output is nearest to that level's target.

    Args:
        tower: The generator; its mode is left as it is.
        distance: Compares a level's images with its target.
        conditions: Condition pyramid of N examples.
        targets: Target pyramid of N examples, (N, C, H_k, W_k) in [0, 1], maybe with a weight for each pixel.
        num_candidates: m_k for each level.
        generator: Source of the codes, on the tower's device.
        max_candidates_per_batch: Items that a module is run on at once; at least N.
        callback: Called with (level, candidates done) after each chunk.
        reject_radius: One a level: candidates that are nearer than this are taken only if there are no others (the
            farthest of them), so that the chosen code is one that sampling is likely to draw too (RS-IMLE, per input).
        width: Winners kept a level, by the sum of distances so far, where the paper keeps one; the next level's
            candidates are divided over them, so that modules are evaluated as often. Divides ``num_candidates``.

    Returns:
        The selection; ``evaluations[k]`` is exactly N * m_k.

    Raises:
        ValueError: More examples than ``max_candidates_per_batch``.
        NonFiniteError: A level's distances are NaN or infinite for every candidate.
    """
    shapes, batch_size = _shapes(tower, conditions), len(coarsest(conditions))
    state, latents, distances = None, [], []
    with parametrize.cached():  # a weight-normalised weight is computed once for the whole search
        for level, (condition, target) in enumerate(zip(conditions, targets, strict=True)):
            target_features = distance.features(target)
            prefixes = width if level else 1
            parent = torch.arange(prefixes * batch_size, device=coarsest(conditions).device)
            limit = max_candidates_per_batch if prefixes == 1 else max(max_candidates_per_batch, len(parent))
            best = None
            for done, chunk in _chunks(
                shapes[level : level + 1], num_candidates[level] // prefixes, len(parent), generator, limit
            ):
                times = len(chunk[0].style) // len(parent)
                image, new = tower.forward_level(level, tile(condition, times * prefixes), chunk[0], tile(state, times))
                found = distance.distance(distance.features(image), tile(target_features, times * prefixes))
                key = rank_keys(found, 0.0 if reject_radius is None else reject_radius[level])
                if prefixes > 1:
                    key = key + torch.stack(distances).sum(dim=0).repeat(times)
                best = _nearer(best, _Best(key, found, chunk, new, parent.repeat(times)), batch_size, width)
                if callback is not None:
                    callback(level, done * prefixes)
            _require_finite(best.distances, level)
            state = best.state
            latents, distances = take((latents, distances), best.parent)
            latents.append(best.latents[0])
            distances.append(best.distances)
    latents, distances = take((latents, distances), slice(batch_size))  # of several winners the nearest
    return Selection(Latents(latents), torch.stack(distances, dim=1), tuple(batch_size * m for m in num_candidates))


@torch.no_grad()
def vanilla(
    tower: Tower,
    distance: Distance,
    conditions: Sequence[Condition],
    targets: Sequence[Tensor | Weighted],
    num_candidates: Sequence[int],
    generator: torch.Generator,
    max_candidates_per_batch: int = 20,
    callback: Callback | None = None,
    supervised_levels: Sequence[int] | None = None,
    reject_radius: Sequence[float] | None = None,
) -> Selection:
    """Draw all levels' codes of a candidate at once and choose the one with the smallest sum of distances.

    Arguments as for :func:`hierarchical`; ``num_candidates`` holds the same m for every level. ``supervised_levels``
    are the levels whose distances are summed (None: all), which is what the loss uses. The radius of rejection is the
    sum of ``reject_radius`` over them.
    """
    shapes, batch_size = _shapes(tower, conditions), len(coarsest(conditions))
    supervised = list(range(len(targets)) if supervised_levels is None else supervised_levels)
    radius = 0.0 if reject_radius is None else sum(reject_radius[level] for level in supervised)
    best = None
    with parametrize.cached():
        target_features = {level: distance.features(targets[level]) for level in supervised}
        for done, chunk in _chunks(shapes, num_candidates[0], batch_size, generator, max_candidates_per_batch):
            times = chunk[0].style.shape[0] // batch_size
            distances = torch.zeros(times * batch_size, len(targets), device=chunk[0].style.device)
            state = None
            for level, latent in enumerate(chunk):
                image, state = tower.forward_level(level, tile(conditions[level], times), latent, state)
                if level in target_features:
                    distances[:, level] = distance.distance(
                        distance.features(image), tile(target_features[level], times)
                    )
            key = rank_keys(distances.sum(dim=1), radius)
            best = _nearer(best, _Best(key, distances, chunk), batch_size)
            if callback is not None:
                callback(len(targets) - 1, done)
    for level in supervised:
        _require_finite(best.distances[:, level], level)
    return Selection(Latents(best.latents), best.distances, tuple(batch_size * m for m in num_candidates))


def search_by(
    sampling: str, supervised_levels: Sequence[int], reject_radius: Sequence[float], width: int = 1
) -> Callable[..., Selection]:
    """Return :func:`hierarchical` or :func:`vanilla` with what an ``imle`` section says of it.

    Args:
        sampling: ``hierarchical`` or ``vanilla``.
        supervised_levels: Levels that the loss sees; vanilla sampling sums their distances.
        reject_radius: One a level.
        width: Winners a level, of hierarchical sampling.
    """
    if sampling == "vanilla":
        return partial(vanilla, supervised_levels=supervised_levels, reject_radius=reject_radius)
    return partial(hierarchical, reject_radius=reject_radius, width=width)


def _shapes(tower: Tower, conditions: Sequence[Condition]) -> list[LevelShape]:
    return tower.latent_shapes(*coarsest(conditions).shape[-2:])


def _chunks(
    shapes: Sequence[LevelShape], num_candidates: int, batch_size: int, generator: torch.Generator, limit: int
) -> Iterator[tuple[int, tuple[LevelLatent, ...]]]:
    """Yield (candidates done, codes of a chunk, candidate-major); each candidate is drawn by itself."""
    if batch_size > limit:
        raise ValueError(f"{batch_size} examples do not fit max_candidates_per_batch {limit}: search fewer at a time")
    step = limit // batch_size
    for start in range(0, num_candidates, step):
        count = min(step, num_candidates - start)
        drawn = [[draw_level(shape, batch_size, generator) for shape in shapes] for _ in range(count)]
        yield (
            start + count,
            tuple(
                LevelLatent(*(torch.cat(parts) for parts in zip(*same, strict=True)))
                for same in zip(*drawn, strict=True)
            ),
        )


def rank_keys(distances: Tensor, radius: float) -> Tensor:
    """Return what candidates are ranked by, lowest first: the distance, but what lies within the radius comes last.

    Among those within, the farthest comes first, told apart in double precision. NaN comes behind everything: it must
    neither win nor hide the others.
    """
    keys = torch.where(distances.isnan(), torch.full_like(distances, torch.inf), distances)
    if radius <= 0:
        return keys
    keys = keys.double()
    return torch.where(keys < radius, REJECTED + radius - keys, keys)


def _nearer(best: _Best | None, found: _Best, batch_size: int, width: int = 1) -> _Best:
    """Reduce a chunk to the nearest ``width`` candidates of each example, and those and ``best`` to the nearest."""
    found = _front(found, batch_size, width)
    if best is None:
        return found
    if width == 1:  # the paper's search: nothing to sort
        return choose(found.key < best.key, found, best)
    return _front(join([best, found]), batch_size, width)


def _front(items: _Best, batch_size: int, width: int) -> _Best:
    order = items.key.view(-1, batch_size).argsort(dim=0, stable=True)[:width]  # (K, N)
    return take(items, (order * batch_size + torch.arange(batch_size, device=order.device)).flatten())


def _require_finite(distances: Tensor, level: int) -> None:
    if not torch.isfinite(distances).all():
        raise NonFiniteError(f"level {level + 1}: the distance of every candidate is NaN or infinite")
