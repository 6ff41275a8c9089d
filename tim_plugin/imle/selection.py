"""The search of conditional IMLE: which codes give the output nearest to the observed image (paper, section 4.2).

:func:`vanilla` draws all levels' codes at once; :func:`hierarchical` chooses the coarsest level's code first, keeps it,
then searches the next. Both take any tower-like object with ``forward_level`` and ``latent_shapes``, stream the
candidates in chunks, keep the running best, and draw each candidate by itself, so that neither memory nor the codes
depend on how many are searched at a time. Lower levels are never run again for a candidate of a higher one, and each
target's features are computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn.utils import parametrize

from tim_plugin.errors import NonFiniteError
from tim_plugin.imle.conditions import Condition, coarsest
from tim_plugin.imle.distance import Features, Weighted
from tim_plugin.imle.latents import Latents, LevelLatent, LevelShape, draw_level
from tim_plugin.imle.trees import choose, take, tile


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
    """The nearest candidate so far; ``score`` (N,) is compared, the rest is kept."""

    score: Tensor
    distances: Tensor
    latents: tuple[LevelLatent, ...]
    state: Any


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

    Returns:
        The selection; ``evaluations[k]`` is exactly N * m_k.

    Raises:
        ValueError: More examples than ``max_candidates_per_batch``.
        NonFiniteError: A level's distances are NaN or infinite for every candidate.
    """
    shapes, batch_size = shapes_for(tower, conditions), len(coarsest(conditions))
    state, latents, distances = None, [], []
    with parametrize.cached():  # a weight-normalised weight is computed once for the whole search
        for level, (condition, target) in enumerate(zip(conditions, targets, strict=True)):
            target_features = distance.features(target)
            best = None
            for done, chunk in chunks_of_candidates(
                shapes[level : level + 1], num_candidates[level], batch_size, generator, max_candidates_per_batch
            ):
                times = chunk[0].style.shape[0] // batch_size
                image, new = tower.forward_level(level, tile(condition, times), chunk[0], tile(state, times))
                found = distance.distance(distance.features(image), tile(target_features, times))
                key = rank_keys(found, 0.0 if reject_radius is None else reject_radius[level])
                best = _nearer(best, key, found[:, None], chunk, new, times)
                if callback is not None:
                    callback(level, done)
            require_finite(best.distances[:, 0], level)
            state = best.state
            latents.append(best.latents[0])
            distances.append(best.distances)
    return Selection(Latents(latents), torch.cat(distances, dim=1), tuple(batch_size * m for m in num_candidates))


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
    shapes, batch_size = shapes_for(tower, conditions), len(coarsest(conditions))
    supervised = list(range(len(targets)) if supervised_levels is None else supervised_levels)
    radius = 0.0 if reject_radius is None else sum(reject_radius[level] for level in supervised)
    best = None
    with parametrize.cached():
        target_features = {level: distance.features(targets[level]) for level in supervised}
        for done, chunk in chunks_of_candidates(
            shapes, num_candidates[0], batch_size, generator, max_candidates_per_batch
        ):
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
            best = _nearer(best, key, distances, chunk, None, times)
            if callback is not None:
                callback(len(targets) - 1, done)
    for level in supervised:
        require_finite(best.distances[:, level], level)
    return Selection(Latents(best.latents), best.distances, tuple(batch_size * m for m in num_candidates))


SEARCHES = {"hierarchical": hierarchical, "vanilla": vanilla}


def shapes_for(tower: Tower, conditions: Sequence[Condition]) -> list[LevelShape]:
    """Return the shapes of the codes for these conditions."""
    return tower.latent_shapes(*coarsest(conditions).shape[-2:])


def chunks_of_candidates(
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

    Among those within, the farthest comes first. NaN comes behind everything: it must neither win nor hide the others.
    """
    keys = torch.where(distances.isnan(), torch.full_like(distances, torch.inf), distances)
    if radius <= 0:
        return keys
    return torch.where(keys < radius, REJECTED + radius - keys, keys)


def _nearer(
    best: _Best | None, score: Tensor, distances: Tensor, latents: tuple[LevelLatent, ...], state: Any, times: int
) -> _Best:
    """Reduce a chunk of ``times`` candidates an example to its nearest, and keep the nearer of that and ``best``."""
    batch_size = score.shape[0] // times
    ranked = score.view(times, batch_size)
    winner = ranked.argmin(dim=0) * batch_size + torch.arange(batch_size, device=score.device)  # (N,)
    found = _Best(ranked.flatten()[winner], *take((distances, latents, state), winner))
    if best is None:
        return found
    return choose(found.score < best.score, found, best)


def require_finite(distances: Tensor, level: int) -> None:
    """Raise NonFiniteError where a level's chosen distances are NaN or infinite."""
    if not torch.isfinite(distances).all():
        raise NonFiniteError(f"level {level + 1}: the distance of every candidate is NaN or infinite")
