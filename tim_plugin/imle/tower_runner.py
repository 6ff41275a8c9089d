"""How one level of a tower is run for a search: precision, memory layout, compilation, weights kept or sharded."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from tim_plugin.imle.latents import LevelLatent, LevelShape
from tim_plugin.imle.types import Condition, TowerLike
from tim_plugin.options.plain_checks import PRECISIONS, require_choice, require_number
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.plain_numbers import plain_number
from tim_plugin.utils.trees import map_tensors, take

BACKEND = "inductor"  # of torch.compile
RECOMPILES = 64  # of one function; torch's own 8 are soon used up by the levels, and then it goes on uncompiled


@dataclass(frozen=True, kw_only=True)
class SearchPlan:
    """How a search runs its tower. The candidates are the same whatever is chosen; the defaults change nothing.

    Attributes:
        precision: ``fp32``, or ``bf16``: candidates are run under autocast to bfloat16, and each level's winner once
            more in full precision, which gives its distance and what the next level builds on.
        channels_last: Run the levels on tensors whose channels lie side by side in memory.
        compiled: Compile each level by ``torch.compile``; smaller chunks are filled up to the size of the first.
        memory_gib: GiB that the tensors of one chunk of candidates may take, in place of a number of candidates; None:
            the number.

    Raises:
        TimError: A value is none of these.
    """

    precision: str = "fp32"
    channels_last: bool = False
    compiled: bool = False
    memory_gib: float | None = None

    def __post_init__(self) -> None:
        require_choice("precision", self.precision, PRECISIONS)
        if self.memory_gib is not None:
            object.__setattr__(self, "memory_gib", plain_number(self.memory_gib))
            require_number("memory_gib", self.memory_gib, float)
            if self.memory_gib <= 0:
                raise TimError(f"memory_gib {self.memory_gib}: must be above 0")

    @property
    def runs_winners_again(self) -> bool:
        """Whether each winner is run once more, because it was chosen in half precision."""
        return self.precision != "fp32"

    @property
    def limited_by(self) -> str:
        """The key of ``imle`` that says how many candidates are run at once."""
        return "max_candidates_per_batch" if self.memory_gib is None else "search_memory_gib"


class PlannedTower:
    """A tower whose levels run as a plan says.

    Args:
        tower: The tower.
        plan: Its precision, layout and compilation count.
    """

    def __init__(self, tower: TowerLike, plan: SearchPlan) -> None:
        self.tower, self.plan = tower, plan
        self._compiled: dict[int, Callable[..., Any]] = {}
        self._sizes: dict[int, int] = {}

    def latent_shapes(self, height: int, width: int) -> list[LevelShape]:
        """Shapes of each level's latents, as the tower says."""
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
        run = self._run_compiled if self.plan.compiled else self.tower.forward_level
        if self.plan.precision == "fp32":
            return run(level, *inputs)
        with torch.autocast(latent.style.device.type, torch.bfloat16):
            image, state = run(level, *inputs)
        return image.float(), state

    def _run_compiled(self, level: int, *inputs: Any) -> tuple[Tensor, Any]:
        """Run the compiled level, on as many items as the most so far, so that it is compiled for one size."""
        if level not in self._compiled:
            self._compiled[level] = torch.compile(
                partial(self.tower.forward_level, level), dynamic=False, backend=BACKEND
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

    def forget_size(self, level: int) -> None:
        """Forget how many items the compiled level was run on: they did not fit in memory."""
        self._sizes.pop(level, None)


def is_sharded(tower: Any) -> bool:
    """Return whether a tower's weights are sharded over processes (FSDP), each level whole only while it runs."""
    fsdp = sys.modules.get("torch.distributed.fsdp")  # slow to import; whatever shards a tower has imported it
    modules = tower.modules() if fsdp is not None and isinstance(tower, nn.Module) else ()
    return any(isinstance(module, fsdp.FSDPModule) for module in modules)


def kept_weights(tower: Any, most_bytes: float = math.inf) -> AbstractContextManager[None]:
    """Compute each weight-normalised weight once for as long as this lasts; of a sharded tower at each use.

    What is computed is whole: kept, it would be the whole network in each process.

    Args:
        tower: The tower, or a wrapper of it.
        most_bytes: Of a tower with more weights nothing is kept, because that is a second copy of them.
    """
    network = tower
    while not isinstance(network, nn.Module) and hasattr(network, "tower"):
        network = network.tower
    weights = network.parameters() if isinstance(network, nn.Module) else ()
    is_large = sum(weight.numel() * weight.element_size() for weight in weights) >= most_bytes
    return nullcontext() if is_large or is_sharded(tower) else parametrize.cached()


def _channels_last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor


def _with_more_items(count: int, tensor: Tensor) -> Tensor:
    return F.pad(tensor, [0, 0] * (tensor.dim() - 1) + [0, count]) if count else tensor
