"""The pool of conditional IMLE: examples with their selected latents, trained on several times until the next search.

IMLE alternates searching and training. While one pool is used up, the next collects the batches that arrive; when the
pool is used up, the collected examples are searched together and become the pool. The first pool is one batch (one
iteration is always one optimizer step), the next ``reuse`` batches, and so on up to ``capacity``. With ``reuse`` 1 each
batch is searched, used once and gone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch

from tim_plugin.imle.latents import Latents
from tim_plugin.utils.seeds import keyed_generator
from tim_plugin.utils.trees import join, move, take

Batch = dict[str, Any]  # tensors, or dicts of tensors, by name; the batch is the first dimension
Search = Callable[[Batch, Any], Latents]


class Examples(NamedTuple):
    """Examples as they were cropped and augmented, with the latents selected for them.

    Attributes:
        batch: What the data set gave of N examples.
        latents: One selected candidate of each.
        pyramids: What was made of the batch once, for the search and every step: conditions and targets of each level.
    """

    batch: Batch
    latents: Latents
    pyramids: Any = None


def size_of(batch: Batch) -> int:
    """Return how many examples a batch holds."""
    return len(next(iter(batch.values())))


def crop_size(state: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return (H, W) of the GTs in a pool's :meth:`~ExamplePool.state_dict`; None where it holds none."""
    batches = [*state.get("collected", ()), *(state.get("current") or ())[:1]]
    return next((tuple(batch["gt"].shape[-2:]) for batch in batches if "gt" in batch), None)


class ExamplePool:
    """Collect, search, hand out; each example of a pool is handed out exactly ``reuse`` times.

    Args:
        capacity: Examples at most, P.
        reuse: How often each is used, R.
        pyramids: Makes of a batch what its search and its steps need; called once for each pool.
        seed: The order of each of the R passes depends on (seed, rank, number of the pool) alone.
        rank: This process's rank.
    """

    def __init__(
        self, capacity: int, reuse: int, pyramids: Callable[[Batch], Any], seed: int = 0, rank: int = 0
    ) -> None:
        self.capacity, self.reuse, self.pyramids, self.seed, self.rank = capacity, reuse, pyramids, seed, rank
        self.number = 0
        self.current: Examples | None = None
        self.order: list[int] = []
        self.collected: list[Batch] = []

    def offer(self, batch: Batch) -> None:
        """Collect a batch (its first entry a tensor) for the next pool; what goes beyond the capacity is let go."""
        room = self.capacity - sum(size_of(one) for one in self.collected)
        if room > 0:
            self.collected.append(take(batch, slice(room)))

    def next_pool(self) -> Batch | None:
        """Return what the next search will be of, once it is certain: the pool is in use and the next one full."""
        full = sum(size_of(one) for one in self.collected) == self.capacity
        return join(self.collected) if self.order and full else None

    def next_batch(self, batch_size: int, search: Search) -> Examples:
        """Hand out examples with their latents; if the pool is used up, search what was collected first.

        Args:
            batch_size: Examples at most; fewer where the pool ends.
            search: Maps a batch of n examples and their pyramids to the latents selected for them.

        Raises:
            RuntimeError: Nothing was offered.
        """
        if not self.order:
            self._renew(search)
        items, self.order = self.order[:batch_size], self.order[batch_size:]
        return take(self.current, torch.tensor(items, device=self.current.latents[0].style.device))

    def _renew(self, search: Search) -> None:
        if not self.collected:
            raise RuntimeError("the pool is used up and no batch was offered")
        batch, self.collected = join(self.collected), []
        pyramids = self.pyramids(batch)
        self.current = Examples(batch, search(batch, pyramids), pyramids)
        generator = keyed_generator("pool", self.seed, self.rank, self.number)
        self.order = [
            item for _ in range(self.reuse) for item in torch.randperm(size_of(batch), generator=generator).tolist()
        ]
        self.number += 1

    def state_dict(self) -> dict[str, Any]:
        """Return what an unbroken run would have, as CPU tensors and plain values (``weights_only`` loads it)."""
        return {
            "number": self.number,
            "order": list(self.order),
            "current": None
            if self.current is None or not self.order
            else [move(self.current.batch, "cpu"), self.current.latents.state_dict()],
            "collected": [move(batch, "cpu") for batch in self.collected],
        }

    def load_state_dict(self, state: dict[str, Any], device: torch.device | str = "cpu") -> None:
        """Go on where :meth:`state_dict` was taken."""
        self.number, self.order = state["number"], list(state["order"])
        self.collected = [move(batch, device) for batch in state["collected"]]
        if state["current"] is None:
            self.current = None
        else:
            batch, latents = state["current"]
            batch = move(batch, device)
            self.current = Examples(batch, Latents.from_state_dict(latents).to(device), self.pyramids(batch))
