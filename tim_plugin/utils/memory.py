"""Memory of tensors: how much a function needs at most, and whether what it needs is there."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tim_plugin.utils.errors import is_out_of_memory

Result = TypeVar("Result")


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of the storages that operations make while it is on and that live.

    Attributes:
        now: Bytes that live.
        most: The largest that ``now`` was.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._seen: dict[int, Any] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and count what it made; what went in was there before or is counted."""
        before = {_key(tensor) for tensor in tree_leaves((args, kwargs)) if isinstance(tensor, Tensor)}
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and _key(tensor) not in before:
                self._add(tensor.untyped_storage())
        return result

    def _add(self, storage: Any) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._seen:
            return
        self.now += size
        self.most = max(self.most, self.now)
        self._seen[key] = weakref.finalize(storage, self._remove, key, size)

    def _remove(self, key: int, size: int) -> None:
        self.now -= size
        self._seen.pop(key, None)


def _key(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def peak_bytes(function: Callable[[], Any], device: torch.device | str = "cpu") -> int:
    """Return how many bytes a function's tensors take at most at one time, beside those that are there before.

    On CUDA by the allocator's own count, with what kernels take for themselves; elsewhere by :class:`LiveBytes`,
    to which kernels may add scratch space that is not seen.
    """
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        function()
        return torch.cuda.max_memory_allocated(device) - before
    with LiveBytes() as live:
        function()
    return live.most


def in_memory(work: Callable[[], Result]) -> Result | None:
    """Return what a function returns, or None where memory ran out: once this returns, what it held is free."""
    try:
        return work()
    except Exception as error:
        if is_out_of_memory(error):
            return None
        raise


def free_bytes() -> int | None:
    """Return how many bytes of the machine's memory are free or can be freed, where Linux tells it; else None."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, StopIteration):
        return None
