"""BasicSR's EnlargedSampler, for datasets whose randomness is keyed by (seed, epoch, index), and for resuming."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from basicsr.data.data_sampler import EnlargedSampler

from tim_plugin.utils.seeds import derive_seed


class KeyedSampler(EnlargedSampler):
    """The order of BasicSR's EnlargedSampler, for datasets whose random crops are keyed by the epoch.

    ``set_epoch`` also calls the dataset's (if it has one); a dataset with ``accepts_enlarged_indices`` gets the
    enlarged index (index modulo its length is the image), so that an image that comes twice in an epoch is cropped
    differently; :meth:`skip` leaves out what a resumed run has seen of its epoch.

    Attributes:
        seed: Of the order, with the epoch; 0 gives BasicSR's own order.
    """

    def __init__(self, dataset: Any, num_replicas: int, rank: int, ratio: int = 1) -> None:
        super().__init__(dataset, num_replicas, rank, ratio)
        self.seed = 0
        self._skipped: dict[int, int] = {}

    def skip(self, epoch: int, num_samples: int) -> None:
        """Leave out the first ``num_samples`` of this rank's order in that epoch.

        Bound to an epoch and not to the next iteration: BasicSR's prefetchers start an iteration that they throw away.
        """
        self._skipped = {epoch: num_samples}

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the order and of the dataset."""
        super().set_epoch(epoch)
        if hasattr(self.dataset, "set_epoch"):
            self.dataset.set_epoch(epoch)

    def __iter__(self) -> Iterator[int]:
        seed = self.epoch if self.seed == 0 else derive_seed("order", self.seed, self.epoch)
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(self.total_size, generator=generator).tolist()
        if not getattr(self.dataset, "accepts_enlarged_indices", False):
            order = [index % len(self.dataset) for index in order]
        order = order[self.rank : self.total_size : self.num_replicas]
        return iter(order[self._skipped.get(self.epoch, 0) :])
