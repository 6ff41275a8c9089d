"""The search of a pool's examples, in this process or in one beside it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from tim_plugin.imle.latents import Latents
from tim_plugin.imle.pool import Batch, size_of
from tim_plugin.imle.pyramid import Pyramids, pyramids_of
from tim_plugin.imle.refinement import refined
from tim_plugin.imle.search import search_by
from tim_plugin.imle.search_runner import SearchPlan, SearchRunner, features_of
from tim_plugin.imle.types import DistanceLike, Known, coarsest
from tim_plugin.options.schema import ImleSpec
from tim_plugin.utils.seeds import keyed_generator
from tim_plugin.utils.trees import join, split

KEPT_BYTES = 2**28  # that a pool's features of targets may take
FEWEST_CHANNELS = 8  # floats of a vector of AVX2: with fewer in a trunk, channels last gains nothing


class Found(NamedTuple):
    """The selected latents of a pool's examples, and the mean over examples of their distances, summed over levels."""

    latents: Latents
    distance: float


class PoolSearch:
    """Selects the latents of examples as an ``imle`` section says.

    Args:
        tower: The generator, as it is at each call.
        distance: Between its images and the targets.
        imle: The section.
        seed: Candidates depend on (seed, rank, iteration) alone.
        rank: This process's rank.
    """

    def __init__(self, tower: nn.Module, distance: DistanceLike, imle: ImleSpec, seed: int, rank: int) -> None:
        self.tower, self.distance, self.imle, self.seed, self.rank = tower, distance, imle, seed, rank
        plan = SearchPlan(
            precision=imle.search_precision,
            channels_last=_gains_from_channels_last(tower) if imle.channels_last is None else imle.channels_last,
            compiled=imle.search_compile,
            memory_gib=imle.search_memory_gib,
        )
        self.runner = SearchRunner(tower, plan)

    def supervised(self) -> range:
        """Return the levels that the loss sees."""
        return self.imle.supervised(self.tower.spec.num_levels)

    def pyramids(self, batch: Batch) -> Pyramids:
        """Return the condition and the target of each level for the examples of a batch."""
        return pyramids_of(batch, self.tower)

    @torch.no_grad()
    def with_features(self, batch: Batch) -> Pyramids:
        """Return :meth:`pyramids`, whose targets have their features where a pool's take at most :data:`KEPT_BYTES`.

        Raises:
            TimError: The features of ``search_batch`` examples do not fit in memory.
        """
        pyramids = self.pyramids(batch)
        parts = split(pyramids.targets, self.imle.search_batch, size_of(batch))
        found = [features_of(self.distance, parts[0])]
        if len(parts) * sum(tensor.nbytes for tensor in tree_leaves(found)) > KEPT_BYTES:
            return pyramids
        found += [features_of(self.distance, part) for part in parts[1:]]
        return pyramids._replace(targets=[Known(*level) for level in zip(join(found), pyramids.targets, strict=True)])

    def __call__(self, pyramids: Pyramids, iteration: int) -> Found:
        """Search all examples, ``imle: search_batch`` at a time.

        Raises:
            NonFiniteError: Every candidate's distance is NaN or infinite.
        """
        levels, supervised, lq = self.tower.spec.num_levels, self.supervised(), coarsest(pyramids.conditions)
        generator = keyed_generator("search", self.seed, self.rank, iteration, device=lq.device)
        search = search_by(self.imle.sampling, supervised, self.imle.radii(levels), self.runner)
        found = [
            search(
                self.tower,
                self.distance,
                *part,
                self.imle.samples(levels),
                generator,
                self.imle.max_candidates_per_batch,
            )
            for part in split(pyramids, self.imle.search_batch, len(lq))
        ]
        latents = Latents.concatenate([part.latents for part in found])
        distances = torch.cat([part.distances for part in found])[:, list(supervised)]
        if self.imle.refine_steps:
            latents, distances = self._refined(pyramids, latents)
        return Found(latents, float(distances.sum(dim=1).mean()))

    def _refined(self, pyramids: Pyramids, latents: Latents) -> tuple[Latents, Tensor]:
        parts = split((pyramids, latents), self.imle.search_batch, latents.batch_size)
        how = self.supervised(), self.imle.refine_steps, self.imle.refine_size
        found = [refined(self.tower, self.distance, *part, *how) for part in parts]
        return Latents.concatenate([one for one, _ in found]), torch.cat([one for _, one in found])


def _gains_from_channels_last(tower: nn.Module) -> bool:
    """Tell whether the layout was measured to gain: with towers of such trunks on CPUs, and not with stacks."""
    fewest = min(getattr(tower.spec, "trunk_channels", (0,)))
    return fewest >= FEWEST_CHANNELS and next(tower.parameters()).device.type == "cpu"
