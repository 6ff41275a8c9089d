"""Networks that are divided over processes (FSDP): a level's weights are whole only while it runs."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch import nn
from torch.distributed.fsdp import FSDPModule
from torch.nn.utils import parametrize


def is_sharded(tower: Any) -> bool:
    """Return whether a network, or what stands for one, is divided over processes."""
    return isinstance(tower, nn.Module) and any(isinstance(module, FSDPModule) for module in tower.modules())


def kept_weights(tower: Any) -> AbstractContextManager[None]:
    """Compute each weight-normalised weight once for as long as this lasts; of a divided network at each use.

    What is computed is whole: kept, it would be the whole network in each process.
    """
    return nullcontext() if is_sharded(tower) else parametrize.cached()
