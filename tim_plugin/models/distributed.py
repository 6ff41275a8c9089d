"""Several processes: a network in each (DistributedDataParallel) or one sharded over them (FSDP2), and gathering.

Stored tensors are always whole, so that a checkpoint does not depend on how many processes wrote it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from tim_plugin.utils.errors import TimError


def replicate(network: nn.Module, device: torch.device, find_unused_parameters: bool) -> nn.Module:
    """Wrap a network so that its gradients are averaged over the processes; weights become those of rank 0."""
    devices = [torch.cuda.current_device()] if device.type == "cuda" else None
    return DistributedDataParallel(network, device_ids=devices, find_unused_parameters=find_unused_parameters)


def shard(network: nn.Module) -> None:
    """Shard each level's parameters over the processes, in place; weights become those of rank 0.

    Each level is one FSDP group, which gathers its weights for as long as the level runs. The network around the levels
    is no group, because a search runs levels one by one, without the network's own ``forward``.

    Args:
        network: Whole in each process, with a ``levels`` ModuleList that holds all parameters.

    Raises:
        TimError: The network has no levels, or parameters outside of them.
    """
    levels = getattr(network, "levels", None)
    inside = {id(p) for p in levels.parameters()} if isinstance(levels, nn.ModuleList) else set()
    if not inside or any(id(p) not in inside for p in network.parameters()):
        raise TimError(f"train: fsdp shards a network of levels, and {type(network).__name__} is none: leave it out")
    for parameter in network.parameters():
        distributed.broadcast(parameter.data, src=0)
    for level in levels:
        fully_shard(level, reshard_after_forward=True)


def full(tensor: Tensor) -> Tensor:
    """Return a whole tensor, gathered if it is sharded; every process that holds a part of it must call."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def full_on_cpu(tree: Any) -> Any:
    """Return a state dict (nested dicts, lists, tuples) with whole tensors on the CPU; every process must call."""
    if isinstance(tree, dict):
        return {key: full_on_cpu(value) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree)(full_on_cpu(value) for value in tree)
    return full(tree).cpu() if isinstance(tree, Tensor) else tree


def sharded_like(own: Any, whole: Tensor) -> Tensor:
    """Return a whole tensor sharded as ``own`` is; unchanged where ``own`` is not sharded, or of another shape."""
    if not isinstance(own, DTensor) or own.shape != whole.shape:
        return whole
    return distribute_tensor(whole.to(own.device), own.device_mesh, own.placements)


def sharded_optimizer_state(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    """Return an optimizer's state dict, read whole from a file, with each tensor sharded as its parameter is."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    entries = {
        index: {
            key: sharded_like(parameters[index], value) if isinstance(value, Tensor) else value
            for key, value in entry.items()
        }
        for index, entry in state["state"].items()
    }
    return {**state, "state": entries}


@torch.no_grad()
def average_into(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move a network's exponential moving average: decay * average + (1 - decay) * network, in a few kernels.

    Args:
        average: Has the network's parameters. Where both are sharded, each process averages its own parts; where only
            the network is, its parameters are gathered one at a time.
        network: Unwrapped.
        decay: In [0, 1]; 0 copies.
    """
    own, current = list(average.parameters()), list(network.parameters())
    if any(isinstance(p, DTensor) for p in current) and not any(isinstance(a, DTensor) for a in own):
        for a, p in zip(own, current, strict=True):
            a.lerp_(full(p), 1 - decay)
        return
    own, current = ([p.to_local() if isinstance(p, DTensor) else p for p in ps] for ps in (own, current))
    torch._foreach_lerp_(own, current, 1 - decay)


def share(count: int, rank: int, processes: int) -> list[int]:
    """Return the items of a process: every ``processes``-th one."""
    return list(range(rank, count, processes))


def own_share(dataloader: Any, rank: int, processes: int, is_sharded: bool) -> tuple[DataLoader, list[int], int]:
    """Return a loader of a process's share of the images, their indices, and how many of them count.

    Args:
        dataloader: Of all images.
        rank: The process.
        processes: How many there are.
        is_sharded: The network, which runs in all processes or in none: surplus images do not count.
    """
    count, indices = len(dataloader), share(len(dataloader), rank, processes)
    own = len(indices)
    if is_sharded:
        indices += [0] * (-(-count // processes) - own)
    return DataLoader(dataloader.dataset, batch_size=1, sampler=indices), indices, own


def gather(part: Sequence[Any]) -> list[Any]:
    """Return what all processes have, in the order of :func:`share`."""
    parts: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(parts, list(part))
    longest = max(len(one) for one in parts)
    return [one[index] for index in range(longest) for one in parts if index < len(one)]
