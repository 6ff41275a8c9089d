"""The nearest of many candidates: drawn one by one, run in chunks, of which only the best are kept.

A plan can make it cheaper (see :class:`tim_plugin.imle.search_runner.SearchPlan`): where candidates are compared
inexactly or in part, the winners are run once more as the plain search would run them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tim_plugin.imle.latents import Draw, LevelLatent, LevelShape, draw_level
from tim_plugin.imle.room import Room, in_memory, no_room
from tim_plugin.imle.search_runner import SearchRunner
from tim_plugin.imle.types import DistanceLike, Features, TowerLike, Weighted
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.trees import choose, join, take, tile

REJECTED = 1e6  # added to the key of a rejected candidate: above any distance

Codes = tuple[LevelLatent, ...]
Images = dict[int, Tensor]  # by level
Run = Callable[[TowerLike, Codes, Tensor], tuple[Images, Any]]


class Best(NamedTuple):
    """The nearest candidates so far, K an example, nearest first: item k of example n stands at k * N + n.

    ``key`` is compared, the rest is kept; ``distances`` are (K * N, L), zero at levels that are not compared;
    ``parent`` is the item of the level below that a candidate builds on.
    """

    key: Tensor
    distances: Tensor
    latents: Codes
    state: Any
    parent: Tensor


class Ranking:
    """What candidates are compared by: the sum of their distances to the targets of some levels.

    Args:
        distance: Compares images with targets; their features are computed here, once.
        targets: Of N examples, by level.
        num_levels: L.
        radius: Candidates nearer than this come last.
        prior: (P * N,) to be added for a candidate that builds on this item, or None.
        screening: Early features are needed too.

    Raises:
        TimError: They are needed, and the distance has none; the targets' features do not fit in memory.
    """

    def __init__(
        self,
        distance: DistanceLike,
        targets: Mapping[int, Tensor | Weighted],
        num_levels: int,
        radius: float = 0.0,
        prior: Tensor | None = None,
        screening: bool = False,
    ) -> None:
        if screening and not hasattr(distance, "early_features"):
            raise TimError(
                f"imle: screen needs a distance of several feature maps, and {type(distance).__name__} has none: use "
                "PerceptualDistanceLoss, or leave screen out"
            )
        self.distance, self.num_levels, self.radius, self.prior = distance, num_levels, radius, prior
        self.targets = _of_targets(distance.features, targets)
        self.early_targets = _of_targets(distance.early_features, targets) if screening else {}

    def distances(self, images: Images, times: int) -> Tensor:
        """Return (times * N, L) for images of that many candidates of each example."""
        return self._compared(images, times, self.distance.features, self.targets)

    def early_distances(self, images: Images, times: int) -> Tensor:
        """Return the same of the early features alone."""
        return self._compared(images, times, self.distance.early_features, self.early_targets)

    def _compared(
        self, images: Images, times: int, features: Callable[[Tensor], Features], targets: Mapping[int, Features]
    ) -> Tensor:
        columns = {
            level: self.distance.distance(features(images[level]), tile(target, times))
            for level, target in targets.items()
        }
        nothing = torch.zeros_like(next(iter(columns.values())))
        return torch.stack([columns.get(level, nothing) for level in range(self.num_levels)], dim=1)

    def keys(self, distances: Tensor, parents: Tensor) -> Tensor:
        """Return what candidates are ranked by, lowest first."""
        keys = rank_keys(distances.sum(dim=1), self.radius)
        return keys if self.prior is None else keys + self.prior[parents]


@dataclass(frozen=True)
class Contest:
    """One search for the nearest candidates.

    Attributes:
        runner: The tower and how it is run.
        level: The level that is searched; the last where all are searched together.
        run: (tower, codes, parents) to the images that are compared and the state for the next level.
        ranking: Compares them.
        num_examples: N.
        width: Winners an example.
    """

    runner: SearchRunner
    level: int
    run: Run
    ranking: Ranking
    num_examples: int
    width: int = 1

    def nearest(
        self,
        shapes: Sequence[LevelShape],
        total: int,
        parent: Tensor,
        generator: torch.Generator,
        max_items: int,
        callback: Callable[[int], None] | None = None,
    ) -> Best:
        """Draw, run and compare candidates, and return the winners.

        Args:
            shapes: Of a candidate's codes.
            total: Candidates for each item of ``parent``.
            parent: (P * N,): items of the level below that candidates build on.
            generator: Source of the codes.
            max_items: Run at once, where the plan has no budget.
            callback: Called with the candidates done after each chunk.

        Raises:
            TimError: They do not fit in memory.
        """
        plan, keep = self.runner.plan, self.width
        if plan.screen < 1:
            keep = max(keep, math.ceil(plan.screen * total * len(parent) / self.num_examples))
        best, room = None, Room(self.runner, self.level, self._limit(shapes, parent, max_items))
        scored = partial(self._scored, self.runner.planned, parent=parent, keep=keep)
        for done, codes in drawn(shapes, total, len(parent), generator, room.limit, self.runner.draw):
            for found in room.do(scored, codes, len(codes[0].style), len(parent)):
                best = nearer(best, found, self.num_examples, keep)
            if callback is not None:
                callback(done)
        if plan.screen < 1:
            best = self._by_whole_distance(best, room)
        return self._run_again(best, room) if plan.runs_winners_again else best

    def _limit(self, shapes: Sequence[LevelShape], parent: Tensor, max_items: int) -> int:
        def probe(tower: TowerLike) -> None:
            source = torch.Generator(parent.device).manual_seed(0)  # not the search's own: the codes must not change
            self._scored(tower, tuple(draw_level(shape, len(parent), source) for shape in shapes), parent, keep=1)

        key = (parent.device, tuple(shapes))
        limit = in_memory(partial(self.runner.limit, self.level, max_items, probe, len(parent), key))
        if limit is None:
            raise TimError(no_room(self.level, len(parent)))
        return limit

    def _scored(self, tower: TowerLike, codes: Codes, parent: Tensor, keep: int) -> Best:
        plan, items = self.runner.plan, len(codes[0].style)
        parents = parent.repeat(items // len(parent))
        images, state = self.run(tower, codes, parents)
        compared = self.ranking.distances if plan.screen == 1 else self.ranking.early_distances
        distances = compared(images, items // self.num_examples)
        kept = images if plan.screen < 1 else None if plan.runs_winners_again else state
        return _front(
            Best(self.ranking.keys(distances, parents), distances, codes, kept, parents), self.num_examples, keep
        )

    def _by_whole_distance(self, best: Best, room: Room) -> Best:
        parts = room.do(self._whole_distances, best.state, len(best.key), self.num_examples)
        return self._ranked_anew(best, torch.cat(parts), None)

    def _whole_distances(self, images: Images) -> Tensor:
        return self.ranking.distances(images, len(next(iter(images.values()))) // self.num_examples)

    def _run_again(self, best: Best, room: Room) -> Best:
        parts = room.do(self._exactly, (best.latents, best.parent), len(best.key), self.num_examples)
        return self._ranked_anew(best, *join(parts))

    def _exactly(self, winners: tuple[Codes, Tensor]) -> tuple[Tensor, Any]:
        """Return distances and state of codes and parents as the plain search has them, or in full precision."""
        with self.runner.precision_of_winners(winners[1].device):
            images, state = self.run(self.runner.tower, *winners)
        return self._whole_distances(images), state

    def _ranked_anew(self, best: Best, distances: Tensor, state: Any) -> Best:
        key = self.ranking.keys(distances, best.parent)
        return _front(best._replace(key=key, distances=distances, state=state), self.num_examples, self.width)


def drawn(
    shapes: Sequence[LevelShape],
    num_candidates: int,
    batch_size: int,
    generator: torch.Generator,
    limit: int,
    draw: Draw = draw_level,
) -> Iterator[tuple[int, Codes]]:
    """Yield (candidates done, codes of a chunk, candidate-major); each candidate is drawn by itself, by ``draw``.

    Raises:
        ValueError: Not even one candidate of each item fits the limit.
    """
    if batch_size > limit:
        raise ValueError(f"{batch_size} examples do not fit max_candidates_per_batch {limit}: search fewer at a time")
    step = limit // batch_size
    for start in range(0, num_candidates, step):
        count = min(step, num_candidates - start)
        candidates = [[draw(shape, batch_size, generator) for shape in shapes] for _ in range(count)]
        yield (
            start + count,
            tuple(
                LevelLatent(*(torch.cat(parts) for parts in zip(*same, strict=True)))
                for same in zip(*candidates, strict=True)
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


def nearer(best: Best | None, found: Best, batch_size: int, width: int = 1) -> Best:
    """Return the nearest ``width`` candidates of each example of both, which have as many each at most."""
    if best is None:
        return found
    if width == 1:  # the paper's search: nothing to sort
        return choose(found.key < best.key, found, best)
    return _front(join([best, found]), batch_size, width)


def _front(items: Best, batch_size: int, width: int) -> Best:
    order = items.key.view(-1, batch_size).argsort(dim=0, stable=True)[:width]  # (K, N)
    return take(items, (order * batch_size + torch.arange(batch_size, device=order.device)).flatten())


def _of_targets(
    features: Callable[[Tensor | Weighted], Features], targets: Mapping[int, Tensor | Weighted]
) -> dict[int, Features]:
    found = in_memory(lambda: {level: features(target) for level, target in targets.items()})
    if found is None:
        one = next(iter(targets.values()))
        count = len(one.image if isinstance(one, Weighted) else one)
        raise TimError(
            f"the features of {count} targets at once do not fit in memory: lower imle: search_batch, or datasets: "
            "train: gt_size"
        )
    return found
