"""The memory of the tensors that a function makes, at its highest point."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode


class _LiveBytes(TorchDispatchMode):
    """Counts the storages of results that are alive; what was there before, and views of it, count nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.alive: dict[int, tuple[StorageWeakRef, int]] = {}
        self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        for tensor in _tensors((args, kwargs)):
            self._note(tensor, 0)
        result = func(*args, **(kwargs or {}))
        for tensor in _tensors(result):
            self._note(tensor, tensor.untyped_storage().nbytes())
        self.peak = max(self.peak, sum(size for _, size in self.alive.values()))
        return result

    def _note(self, tensor: Tensor, size: int) -> None:
        self.alive = {key: entry for key, entry in self.alive.items() if not entry[0].expired()}
        reference = StorageWeakRef(tensor.untyped_storage())
        self.alive.setdefault(reference.cdata, (reference, size))


def peak_bytes(function: Callable[[], Any], device: torch.device) -> int:
    """Return how many bytes a function's tensors take at most at one time, beside those that are there before.

    On CUDA by the allocator's own count, with what kernels take for themselves; elsewhere by the sizes of all results
    that are alive after each operation, to which kernels may add scratch space that is not seen.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        function()
        return torch.cuda.max_memory_allocated(device) - before
    with _LiveBytes() as live:
        function()
    return live.peak


def _tensors(tree: Any) -> Iterator[Tensor]:
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, (tuple, list)):
        for part in tree:
            yield from _tensors(part)
    elif isinstance(tree, dict):
        yield from _tensors(list(tree.values()))
