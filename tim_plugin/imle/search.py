"""The search of conditional IMLE: which codes give the output nearest to the observed image (paper, section 4.2).

:func:`vanilla` draws all levels' codes at once; :func:`hierarchical` chooses the coarsest level's code first, keeps it,
then searches the next. Both take any tower-like object with ``forward_level`` and ``latent_shapes``, stream the
candidates in chunks, keep the running best, and draw each candidate by itself, so that neither memory nor the codes
depend on how many are searched at a time. Lower levels are never run again for a candidate of a higher one, and each
target's features are computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tim_plugin.imle.latents import Latents, LevelShape
from tim_plugin.imle.nearest import Codes, Contest, Images, Ranking
from tim_plugin.imle.search_runner import SearchRunner
from tim_plugin.imle.types import Condition, DistanceLike, TowerLike, Weighted, coarsest
from tim_plugin.utils.errors import NonFiniteError
from tim_plugin.utils.trees import take, tile


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


Callback = Callable[[int, int], None]


@torch.no_grad()
def hierarchical(
    tower: TowerLike,
    distance: DistanceLike,
    conditions: Sequence[Condition],
    targets: Sequence[Tensor | Weighted],
    num_candidates: Sequence[int],
    generator: torch.Generator,
    max_candidates_per_batch: int = 20,
    callback: Callback | None = None,
    reject_radius: Sequence[float] | None = None,
    width: int = 1,
    runner: SearchRunner | None = None,
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
        runner: How the tower is run, kept from search to search; None: plainly.

    Returns:
        The selection; ``evaluations[k]`` is exactly N * m_k, and N more a winner where the plan runs winners again.

    Raises:
        ValueError: More examples than ``max_candidates_per_batch``.
        NonFiniteError: A level's distances are NaN or infinite for every candidate.
    """
    runner = runner or SearchRunner(tower)
    shapes, batch_size = _shapes(tower, conditions), len(coarsest(conditions))
    state, latents, distances = None, [], []
    with runner.context():
        for level, target in enumerate(targets):
            ranking = Ranking(
                distance,
                {level: target},
                len(targets),
                0.0 if reject_radius is None else reject_radius[level],
                torch.stack(distances).sum(dim=0) if level and width > 1 else None,
                runner.plan.screen < 1,
            )
            run = partial(_run_level, level, conditions[level], batch_size, state)
            prefixes = width if level else 1
            best = Contest(runner, level, run, ranking, batch_size, width).nearest(
                shapes[level : level + 1],
                num_candidates[level] // prefixes,
                torch.arange(prefixes * batch_size, device=coarsest(conditions).device),
                generator,
                max_candidates_per_batch if prefixes == 1 else max(max_candidates_per_batch, prefixes * batch_size),
                None if callback is None else partial(_report, callback, level, prefixes),
            )
            _require_finite(best.distances[:, level], level)
            state = best.state
            latents, distances = take((latents, distances), best.parent)
            latents.append(best.latents[0])
            distances.append(best.distances[:, level])
    latents, distances = take((latents, distances), slice(batch_size))  # of several winners the nearest
    again = batch_size * width * runner.plan.runs_winners_again
    return Selection(
        Latents(latents), torch.stack(distances, dim=1), tuple(batch_size * m + again for m in num_candidates)
    )


def _run_level(
    level: int, condition: Condition, batch_size: int, state: Any, tower: TowerLike, codes: Codes, parents: Tensor
) -> tuple[Images, Any]:
    below = None if state is None else take(state, parents)
    image, new = tower.forward_level(level, tile(condition, len(parents) // batch_size), codes[0], below)
    return {level: image}, new


def _report(callback: Callback, level: int, prefixes: int, done: int) -> None:
    callback(level, done * prefixes)


@torch.no_grad()
def vanilla(
    tower: TowerLike,
    distance: DistanceLike,
    conditions: Sequence[Condition],
    targets: Sequence[Tensor | Weighted],
    num_candidates: Sequence[int],
    generator: torch.Generator,
    max_candidates_per_batch: int = 20,
    callback: Callback | None = None,
    supervised_levels: Sequence[int] | None = None,
    reject_radius: Sequence[float] | None = None,
    runner: SearchRunner | None = None,
) -> Selection:
    """Draw all levels' codes of a candidate at once and choose the one with the smallest sum of distances.

    Arguments as for :func:`hierarchical`; ``num_candidates`` holds the same m for every level. ``supervised_levels``
    are the levels whose distances are summed (None: all), which is what the loss uses. The radius of rejection is the
    sum of ``reject_radius`` over them.
    """
    runner = runner or SearchRunner(tower)
    batch_size, levels = len(coarsest(conditions)), len(targets)
    supervised = list(range(levels) if supervised_levels is None else supervised_levels)
    with runner.context():
        ranking = Ranking(
            distance,
            {level: targets[level] for level in supervised},
            levels,
            0.0 if reject_radius is None else sum(reject_radius[level] for level in supervised),
            screening=runner.plan.screen < 1,
        )
        run = partial(_run_all, conditions, supervised, batch_size)
        best = Contest(runner, levels - 1, run, ranking, batch_size).nearest(
            _shapes(tower, conditions),
            num_candidates[0],
            torch.arange(batch_size, device=coarsest(conditions).device),
            generator,
            max_candidates_per_batch,
            None if callback is None else partial(callback, levels - 1),
        )
    for level in supervised:
        _require_finite(best.distances[:, level], level)
    again = batch_size * runner.plan.runs_winners_again
    return Selection(Latents(best.latents), best.distances, tuple(batch_size * m + again for m in num_candidates))


def _run_all(
    conditions: Sequence[Condition],
    compared: Sequence[int],
    batch_size: int,
    tower: TowerLike,
    codes: Codes,
    parents: Tensor,
) -> tuple[Images, Any]:
    images, state = {}, None
    for level, latent in enumerate(codes):
        condition = tile(conditions[level], len(parents) // batch_size)
        image, state = tower.forward_level(level, condition, latent, state)
        if level in compared:
            images[level] = image
    return images, None


def search_by(
    sampling: str,
    supervised_levels: Sequence[int],
    reject_radius: Sequence[float],
    width: int = 1,
    runner: SearchRunner | None = None,
) -> Callable[..., Selection]:
    """Return :func:`hierarchical` or :func:`vanilla` with what an ``imle`` section says of it.

    Args:
        sampling: ``hierarchical``, ``chimle`` (the same, with candidates that differ by level) or ``vanilla``.
        supervised_levels: Levels that the loss sees; vanilla sampling sums their distances.
        reject_radius: One a level.
        width: Winners a level, of hierarchical sampling.
        runner: How the tower is run; None: plainly.
    """
    if sampling == "vanilla":
        return partial(vanilla, supervised_levels=supervised_levels, reject_radius=reject_radius, runner=runner)
    return partial(hierarchical, reject_radius=reject_radius, width=width, runner=runner)


def _shapes(tower: TowerLike, conditions: Sequence[Condition]) -> list[LevelShape]:
    return tower.latent_shapes(*coarsest(conditions).shape[-2:])


def _require_finite(distances: Tensor, level: int) -> None:
    if not torch.isfinite(distances).all():
        raise NonFiniteError(f"level {level + 1}: the distance of every candidate is NaN or infinite")
