"""Figure 3: how many vanilla samples reach the distance that hierarchical sampling reaches with m a level."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from tim_plugin.degradations.base import Observed
from tim_plugin.imle.latents import Latents
from tim_plugin.imle.pyramid import condition_pyramid, target_pyramid
from tim_plugin.imle.search import DistanceLike, hierarchical
from tim_plugin.utils.trees import tile

CRITERIA = ("last", "sum")  # the last level's distance, or the sum over levels that training minimises


@dataclass(frozen=True)
class Efficiency:
    """What one run found, for each criterion of :data:`CRITERIA`.

    Attributes:
        hierarchical: ``[criterion][m]``: mean distance over inputs of what hierarchical sampling chose.
        vanilla: ``[criterion]``: mean distance over inputs of the best of 1, 2, ... vanilla samples.
    """

    hierarchical: dict[str, dict[int, float]]
    vanilla: dict[str, list[float]]

    def needed(self, criterion: str, m: int) -> int | None:
        """Return how many vanilla samples reach the distance of m a level; None where all that were drawn do not."""
        reached = self.hierarchical[criterion][m]
        return next((count for count, one in enumerate(self.vanilla[criterion], start=1) if one <= reached), None)


@torch.no_grad()
def measure_efficiency(
    tower: nn.Module,
    distance: DistanceLike,
    lq: Tensor,
    gt: Tensor,
    counts: Sequence[int],
    vanilla_samples: int,
    seed: int,
    at_once: int = 64,
    progress: Callable[[int], None] | None = None,
) -> Efficiency:
    """Search N inputs by hierarchical sampling with each count, and by vanilla sampling.

    Args:
        tower: A trained generator with a ``spec`` and a ``degradation``.
        distance: As in training.
        lq: (N, C, h, w) in [0, 1].
        gt: (N, 3, H, W) in [0, 1].
        counts: Samples a level of hierarchical sampling.
        vanilla_samples: Drawn of each input.
        seed: Of all latents.
        at_once: Items a level runs on at once.
        progress: Called with the number of samples that were drawn since its last call.
    """
    conditions = condition_pyramid(Observed(lq), tower.spec, tower.degradation)
    targets = target_pyramid(gt, tower.spec.num_levels)
    generator = torch.Generator(lq.device).manual_seed(seed)
    progress = progress or (lambda count: None)
    reached: dict[str, dict[int, float]] = {criterion: {} for criterion in CRITERIA}
    for m in counts:
        found = hierarchical(
            tower, distance, conditions, targets, [m] * len(targets), generator, max(at_once, len(lq))
        ).distances.double()
        reached["last"][m], reached["sum"][m] = float(found[:, -1].mean()), float(found.sum(dim=1).mean())
        progress(m)
    drawn = _vanilla_distances(tower, distance, conditions, targets, vanilla_samples, generator, at_once, progress)
    best = {"last": drawn[:, :, -1], "sum": drawn.sum(dim=2)}
    curves = {key: one.cummin(dim=0).values.mean(dim=1).tolist() for key, one in best.items()}
    return Efficiency(reached, curves)


def _vanilla_distances(
    tower: nn.Module,
    distance: DistanceLike,
    conditions: Sequence,
    targets: Sequence[Tensor],
    count: int,
    generator: torch.Generator,
    at_once: int,
    progress: Callable[[int], None],
) -> Tensor:
    """Return (count, N, L): each sample's distance to each level's target."""
    inputs = len(targets[0])
    shapes = tower.latent_shapes(*conditions[0].image.shape[-2:])
    features = [distance.features(target) for target in targets]
    parts, step = [], max(at_once // inputs, 1)
    with parametrize.cached():  # a weight-normalised weight is computed once, as in the search
        for start in range(0, count, step):
            times = min(step, count - start)
            latents = Latents.draw(shapes, times * inputs, generator)
            images = tower([tile(one, times) for one in conditions], latents)
            levels = [
                distance.distance(distance.features(image), tile(target, times))
                for image, target in zip(images, features, strict=True)
            ]
            parts.append(torch.stack(levels, dim=1).view(times, inputs, len(levels)).double())
            progress(times)
    return torch.cat(parts)
