"""How a search is run: precision, layout, compiled levels, memory, screening. The candidates are always the same."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tim_plugin.imle.latents import Draw, LevelLatent, LevelShape, draw_level
from tim_plugin.imle.live_memory import peak_bytes
from tim_plugin.imle.sharded import is_sharded, kept_weights
from tim_plugin.imle.types import Condition, TowerLike
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.trees import map_tensors, take

GIB = 2**30
RECOMPILES = 64  # of one function; torch's own 8 are soon used up by the levels, and then it goes on uncompiled


@dataclass(frozen=True, kw_only=True)
class SearchPlan:
    """How a search is run; the defaults change nothing.

    Attributes:
        precision: ``fp32``, or ``bf16``: levels run under autocast, each level's winner once more without, also in
            half-precision training.
        channels_last: Run levels and distance on tensors whose channels lie side by side in memory.
        compiled: Compile each level by ``torch.compile``; smaller chunks are filled up to the size of the first.
        memory_gib: What a chunk's tensors may take, in place of a number of items; None: the number.
        screen: Fraction of a level's candidates that the whole distance is computed for: those that are nearest by the
            distance's first feature maps.
    """

    precision: str = "fp32"
    channels_last: bool = False
    compiled: bool = False
    memory_gib: float | None = None
    screen: float = 1.0

    @property
    def runs_winners_again(self) -> bool:
        """Whether a winner's distance and state are computed anew: they were inexact, or not kept."""
        return self.precision != "fp32" or self.screen < 1

    @property
    def limited_by(self) -> str:
        """The key of ``imle`` that says how many items are run at once."""
        return "max_candidates_per_batch" if self.memory_gib is None else "search_memory_gib"


class PlannedTower:
    """A tower whose levels run as a plan says.

    Args:
        tower: The tower.
        plan: Its precision, layout and compilation count.
        backend: Of ``torch.compile``.
    """

    def __init__(self, tower: TowerLike, plan: SearchPlan, backend: str | Callable[..., Any] = "inductor") -> None:
        self.tower, self.plan, self.backend = tower, plan, backend
        self._compiled: dict[int, Callable[..., Any]] = {}
        self._sizes: dict[int, int] = {}

    def latent_shapes(self, height: int, width: int) -> list[LevelShape]:
        """Shapes of each level's codes."""
        return self.tower.latent_shapes(height, width)

    def forward_level(
        self, level: int, condition: Condition, latent: LevelLatent, state: Any = None
    ) -> tuple[Tensor, Any]:
        """Run one level; the image is float32 whatever the precision.

        Raises:
            TimError: It is to be compiled, and cannot be.
        """
        inputs = (condition, latent, state)
        if self.plan.channels_last:
            inputs = map_tensors(_channels_last, inputs)
        run = self._filled_up if self.plan.compiled else self.tower.forward_level
        if self.plan.precision == "fp32":
            return run(level, *inputs)
        with torch.autocast(latent.style.device.type, torch.bfloat16):
            image, state = run(level, *inputs)
        return image.float(), state

    def _filled_up(self, level: int, *inputs: Any) -> tuple[Tensor, Any]:
        """Run the compiled level on as many items as ever before, so that it is compiled once."""
        if level not in self._compiled:
            self._compiled[level] = torch.compile(
                partial(self.tower.forward_level, level), dynamic=False, backend=self.backend
            )
        items = len(inputs[1].style)
        size = self._sizes[level] = max(items, self._sizes.get(level, 0))
        filled = map_tensors(partial(_with_more_items, size - items), inputs)
        try:
            with torch._dynamo.config.patch(recompile_limit=RECOMPILES):
                return take(self._compiled[level](*filled), slice(items))
        except torch._dynamo.exc.TorchDynamoException as error:
            reason = " ".join(str(error).split("\n")[:2])
            raise TimError(
                f"imle: search_compile: level {level + 1} cannot be compiled ({reason}): torch.compile needs a C++ "
                "compiler, such as gcc, on the PATH; leave search_compile out to go on without"
            ) from error

    def shrink(self, level: int) -> None:
        """Forget how many items the level was compiled for: they were too many."""
        self._sizes.pop(level, None)


class SearchRunner:
    """A tower with a plan, and what is learned of it on the way: bytes an item, levels that ran out of memory.

    Args:
        tower: The tower.
        plan: How it is run.
        backend: Of ``torch.compile``.
        draw: Draws the candidates' codes.
    """

    def __init__(
        self,
        tower: TowerLike,
        plan: SearchPlan | None = None,
        backend: str | Callable[..., Any] = "inductor",
        draw: Draw = draw_level,
    ) -> None:
        self.tower, self.plan, self.draw = tower, plan or SearchPlan(), draw
        self.planned = PlannedTower(tower, self.plan, backend)
        # A compiled level's memory cannot be watched; the plain one needs no less.
        self.watched = PlannedTower(tower, replace(self.plan, compiled=False))
        self.divided = is_sharded(tower)
        self.halved: dict[int, int] = {}  # items of a level that are run at once at most
        self._bytes: dict[Any, float] = {}

    def context(self) -> AbstractContextManager[None]:
        """Compute each weight-normalised weight once for the whole search; torch.compile cannot see that cache."""
        return nullcontext() if self.plan.compiled else kept_weights(self.tower)

    def precision_of_winners(self, device: torch.device) -> AbstractContextManager[Any]:
        """Return the context of their second run: full precision, also in half-precision training, if asked for."""
        return nullcontext() if self.plan.precision == "fp32" else torch.autocast(device.type, enabled=False)

    def limit(self, level: int, default: int, probe: Callable[[TowerLike], Any], items: int, key: Any) -> int:
        """Return how many items the level is run on at once.

        Args:
            level: Index from 0.
            default: Items where there is no budget.
            probe: Run on a tower it does what is done with ``items`` items; measured where there is a budget.
            items: The fewest that can be run at once.
            key: Of what the probe depends on; it is run once for each.
        """
        limit = default
        if self.plan.memory_gib is not None:
            if (level, key) not in self._bytes:
                probe(self.watched)  # what stays (normalised weights, constants) is there before it is measured
                self._bytes[level, key] = peak_bytes(partial(probe, self.watched), key[0]) / items
            limit = max(items, int(self.plan.memory_gib * GIB / self._bytes[level, key]))
        return max(items, min(limit, self.halved[level])) if level in self.halved else limit

    def halve(self, level: int, limit: int) -> None:
        """Remember that a level ran out of memory, and how many items are run at once from now on."""
        self.halved[level] = limit
        self.planned.shrink(level)


def _channels_last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor


def _with_more_items(count: int, tensor: Tensor) -> Tensor:
    return F.pad(tensor, [0, 0] * (tensor.dim() - 1) + [0, count]) if count else tensor
