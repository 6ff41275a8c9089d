"""The search that ours is compared with."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tim_plugin.imle.latents import Draw, Latents, LevelLatent, draw_level
from tim_plugin.imle.search import Selection
from tim_plugin.imle.types import Condition, DistanceLike, TowerLike, coarsest
from tim_plugin.utils.trees import tile


@torch.no_grad()
def naive_hierarchical(
    tower: TowerLike,
    distance: DistanceLike,
    conditions: Sequence[Condition],
    targets: Sequence[Tensor],
    num_candidates: Sequence[int],
    generator: torch.Generator,
    max_candidates_per_batch: int,
    draw: Draw = draw_level,
) -> Selection:
    """The search as the method's public code does it: each candidate runs all lower levels, targets anew each chunk.

    Arguments and picks are those of :func:`tim_plugin.imle.search.hierarchical`; ``draw`` draws the latents.
    """
    batch, levels = len(targets[0]), len(targets)
    shapes = tower.latent_shapes(*coarsest(conditions).shape[-2:])
    chosen: list[LevelLatent] = []
    rows, evaluations = [], [0] * levels
    for level in range(levels):
        scores, candidates = [], []
        step = max_candidates_per_batch // batch
        for start in range(0, num_candidates[level], step):
            drawn = [draw(shapes[level], batch, generator) for _ in range(min(step, num_candidates[level] - start))]
            candidates += drawn
            chunk = LevelLatent(*(torch.cat(parts) for parts in zip(*drawn, strict=True)))
            state = None
            for lower in range(level + 1):
                latent = chunk if lower == level else LevelLatent(*(tile(part, len(drawn)) for part in chosen[lower]))
                image, state = tower.forward_level(lower, tile(conditions[lower], len(drawn)), latent, state)
                evaluations[lower] += len(latent.style)
            target_features = tile(distance.features(targets[level]), len(drawn))
            scores.append(distance.distance(distance.features(image), target_features).view(len(drawn), batch))
        found, winner = torch.cat(scores).min(dim=0)  # (N,)
        items = range(batch)
        chosen.append(LevelLatent(*(torch.stack([candidates[winner[i]][part][i] for i in items]) for part in range(2))))
        rows.append(found)
    return Selection(Latents(chosen), torch.stack(rows, dim=1), tuple(evaluations))
