"""The search of conditional IMLE: which latents give the output nearest to the observed image (paper, section 4.2).

:func:`hierarchical` is the paper's hierarchical sampling, :func:`vanilla` what it is compared with. A tower is any
object with ``forward_level`` and ``latent_shapes``. How many candidates are run at once and in which precision is up to
:class:`tim_plugin.imle.search_runner.SearchRunner`, which changes neither the candidates nor their number. For plain
tensors see :func:`tim_plugin.imle.search`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tim_plugin.imle.latents import Latents, LevelShape
from tim_plugin.imle.search_runner import Latent, SearchRunner, features_of
from tim_plugin.imle.types import Condition, DistanceLike, Features, Known, TowerLike, Weighted, coarsest
from tim_plugin.utils.errors import NonFiniteError
from tim_plugin.utils.trees import choose, take, tile

REJECTED = 1e6  # added to the rank of a rejected candidate: above any distance


class Selection(NamedTuple):
    """What a search found.

    Attributes:
        latents: The selected latents of the N examples, all levels.
        distances: (N, L) distance of the selected candidate at each level; 0 at a level that is not compared.
        evaluations: For each level, how many items its module was run on.
    """

    latents: Latents
    distances: Tensor
    evaluations: tuple[int, ...]


class Candidates(NamedTuple):
    """The nearest candidates so far, one of each of N examples.

    Attributes:
        rank: (N,) what candidates are compared by, the lowest wins, see :func:`ranks`.
        latents: Of the levels that are searched together.
        distances: (N, K), to each of the K targets that count.
        state: What the next level builds on.
    """

    rank: Tensor
    latents: Latent
    distances: Tensor
    state: Any


@torch.no_grad()
def hierarchical(
    tower: TowerLike,
    distance: DistanceLike,
    conditions: Sequence[Condition],
    targets: Sequence[Tensor | Weighted | Known],
    num_candidates: Sequence[int],
    generator: torch.Generator,
    max_candidates_per_batch: int = 20,
    reject_radius: Sequence[float] | None = None,
    runner: SearchRunner | None = None,
) -> Selection:
    """Choose level by level, coarse to fine, each time the latents whose output is nearest to that level's target.

    Args:
        tower, distance: The generator, whose mode is left as it is, and what compares a level's images with its target.
        conditions, targets: Pyramids of N examples; targets are (N, C, H_k, W_k) in [0, 1], maybe with pixels' weights.
        num_candidates: m_k for each level; its module is run on N * m_k items, and on N more where the plan is inexact.
        generator: Source of the latents, on the tower's device.
        max_candidates_per_batch: Items that a module is run on at once; at least N.
        reject_radius: One a level: a candidate nearer than this is taken only if there is no other (RS-IMLE).
        runner: How the tower is run, kept from search to search; None: plainly.

    Raises:
        TimError: The candidates do not fit in memory, or N examples not in ``max_candidates_per_batch``.
        NonFiniteError: A level's distances are NaN or infinite for every candidate.
    """
    runner, chosen = runner or SearchRunner(tower), []
    shapes, count, radii = _shapes(tower, conditions), len(coarsest(conditions)), reject_radius or [0.0] * len(targets)
    with runner.weights_kept():
        for level, target in enumerate(targets):
            below = chosen[-1].state if chosen else None  # what the levels below made of the latents chosen for them
            generate = partial(_generate_level, level, conditions[level], below, count)
            score = partial(_nearest_in_chunk, generate, distance, features_of(distance, [target]), radii[level], count)
            shape, m = shapes[level : level + 1], num_candidates[level]
            chunks = runner.run(score, level, shape, m, count, generator, max_candidates_per_batch)
            nearest = runner.in_full_precision(score, level, reduce(_nearer, chunks))
            _require_finite(nearest, [level])
            chosen.append(nearest)
    distances = torch.cat([one.distances for one in chosen], dim=1)  # (N, L)
    return Selection(
        Latents([one.latents[0] for one in chosen]), distances, _evaluations(runner, count, num_candidates)
    )


@torch.no_grad()
def vanilla(
    tower: TowerLike,
    distance: DistanceLike,
    conditions: Sequence[Condition],
    targets: Sequence[Tensor | Weighted | Known],
    num_candidates: Sequence[int],
    generator: torch.Generator,
    max_candidates_per_batch: int = 20,
    supervised_levels: Sequence[int] | None = None,
    reject_radius: Sequence[float] | None = None,
    runner: SearchRunner | None = None,
) -> Selection:
    """Draw all levels' latents of a candidate at once and choose the one with the smallest sum of distances.

    Arguments and errors as for :func:`hierarchical`; ``num_candidates`` holds the same m for every level.
    ``supervised_levels`` are the levels whose distances are summed (None: all), which is what the loss uses. The radius
    of rejection is the sum of ``reject_radius`` over them.
    """
    runner = runner or SearchRunner(tower)
    shapes, count, last = _shapes(tower, conditions), len(coarsest(conditions)), len(targets) - 1
    compared = list(range(len(targets)) if supervised_levels is None else supervised_levels)
    radius = sum(reject_radius[level] for level in compared) if reject_radius else 0.0
    with runner.weights_kept():
        generate = partial(_generate_all, conditions, compared, count)
        features = features_of(distance, [targets[level] for level in compared])
        score = partial(_nearest_in_chunk, generate, distance, features, radius, count)
        chunks = runner.run(score, last, shapes, num_candidates[0], count, generator, max_candidates_per_batch)
        best = runner.in_full_precision(score, last, reduce(_nearer, chunks))
    _require_finite(best, compared)
    distances = best.distances.new_zeros(count, len(targets))
    distances[:, compared] = best.distances
    return Selection(Latents(best.latents), distances, _evaluations(runner, count, num_candidates))


def search_by(
    sampling: str,
    supervised_levels: Sequence[int],
    reject_radius: Sequence[float],
    runner: SearchRunner | None = None,
) -> Callable[..., Selection]:
    """Return :func:`hierarchical` or :func:`vanilla` with what an ``imle`` section says of it.

    Args:
        sampling: ``hierarchical``, ``chimle`` (the same, with candidates that differ by level) or ``vanilla``.
        supervised_levels: Levels that the loss sees; vanilla sampling sums their distances.
        reject_radius: One a level.
        runner: How the tower is run; None: plainly.
    """
    if sampling == "vanilla":
        return partial(vanilla, supervised_levels=supervised_levels, reject_radius=reject_radius, runner=runner)
    return partial(hierarchical, reject_radius=reject_radius, runner=runner)


def ranks(distances: Tensor, radius: float) -> Tensor:
    """Return what candidates are compared by, lowest first: the distance, but what lies within the radius comes last.

    Among those within, the farthest comes first, told apart in double precision. NaN comes behind everything: it must
    neither win nor hide the others.
    """
    rank = torch.where(distances.isnan(), torch.full_like(distances, torch.inf), distances)
    if radius <= 0:
        return rank
    rank = rank.double()
    return torch.where(rank < radius, REJECTED + radius - rank, rank)


def _generate_level(
    level: int, condition: Condition, below: Any, count: int, tower: TowerLike, latents: Latent
) -> tuple[list[Tensor], Any]:
    """Return one level's images of a chunk, on the state of the levels below, and the level's own state."""
    times = len(latents[0].style) // count
    image, state = tower.forward_level(level, tile(condition, times), latents[0], tile(below, times))
    return [image], state


def _generate_all(
    conditions: Sequence[Condition], compared: Sequence[int], count: int, tower: TowerLike, latents: Latent
) -> tuple[list[Tensor], Any]:
    """Return the compared levels' images of a chunk, of which each candidate has its own latents at every level."""
    images, state = [], None
    for level, latent in enumerate(latents):
        image, state = tower.forward_level(level, tile(conditions[level], len(latent.style) // count), latent, state)
        images.append(image)
    return [images[level] for level in compared], None


def _nearest_in_chunk(
    generate: Callable[[TowerLike, Latent], tuple[list[Tensor], Any]],
    distance: DistanceLike,
    target_features: Sequence[Features],
    radius: float,
    count: int,
    tower: TowerLike,
    latents: Latent,
) -> Candidates:
    """Generate images from the latents of a chunk, candidate j of example n at j * N + n, and select the nearest."""
    images, state = generate(tower, latents)
    times = len(latents[0].style) // count
    compared = zip(images, target_features, strict=True)
    distances = [distance.distance(distance.features(image), tile(features, times)) for image, features in compared]
    distances = torch.stack(distances, dim=1)  # (times * N, K)
    rank = ranks(distances.sum(dim=1), radius)
    first = rank.view(times, count).argsort(dim=0, stable=True)[0]  # (N,)
    chosen = first * count + torch.arange(count, device=first.device)
    return take(Candidates(rank, latents, distances, state), chosen)


def _nearer(best: Candidates, found: Candidates) -> Candidates:
    return choose(found.rank < best.rank, found, best)


def _shapes(tower: TowerLike, conditions: Sequence[Condition]) -> list[LevelShape]:
    return tower.latent_shapes(*coarsest(conditions).shape[-2:])


def _evaluations(runner: SearchRunner, count: int, num_candidates: Sequence[int]) -> tuple[int, ...]:
    again = count * runner.plan.runs_winners_again
    return tuple(count * m + again for m in num_candidates)


def _require_finite(best: Candidates, levels: Sequence[int]) -> None:
    for column, level in enumerate(levels):
        if not torch.isfinite(best.distances[:, column]).all():
            raise NonFiniteError(f"level {level + 1}: the distance of every candidate is NaN or infinite")
