"""Batch operations on nested structures: a tensor, None, or a (named) tuple, list or dict of such."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


def map_tensors(function: Callable[..., Tensor], *trees: Any) -> Any:
    """Apply a function to the tensors at the same position of each tree (all of one structure); None stays None."""
    first = trees[0]
    if first is None:
        return None
    if isinstance(first, Tensor):
        return function(*trees)
    if isinstance(first, dict):
        return {key: map_tensors(function, *(tree[key] for tree in trees)) for key in first}
    mapped = [map_tensors(function, *parts) for parts in zip(*trees, strict=True)]
    return type(first)(*mapped) if hasattr(first, "_fields") else type(first)(mapped)


def tile(tree: Any, times: int) -> Any:
    """Repeat a batch of N items so many times: item i of repetition j becomes item j * N + i.

    One item is not copied: all repetitions are the same memory. Once is the tree itself, which may then hold anything.
    """
    if times == 1:
        return tree

    def repeated(tensor: Tensor) -> Tensor:
        rest = tensor.dim() - 1
        return tensor.expand(times, *[-1] * rest) if len(tensor) == 1 else tensor.repeat(times, *[1] * rest)

    return map_tensors(repeated, tree)


def take(tree: Any, items: Tensor | slice) -> Any:
    """Return the items of a batch at ``items``: indices (n,), a mask (N,), or a slice."""
    return map_tensors(lambda tensor: tensor[items], tree)


def choose(mask: Tensor, chosen: Any, other: Any) -> Any:
    """Take items of ``chosen`` where the boolean mask (N,) is true, of ``other`` elsewhere."""
    return map_tensors(lambda a, b: torch.where(mask.view(-1, *[1] * (a.dim() - 1)), a, b), chosen, other)


def join(trees: Sequence[Any]) -> Any:
    """Concatenate batches of the same structure."""
    return map_tensors(lambda *tensors: torch.cat(tensors), *trees)


def split(tree: Any, size: int, total: int) -> list[Any]:
    """Split a batch of ``total`` items into batches of ``size``; the last may be smaller."""
    return [take(tree, slice(start, start + size)) for start in range(0, total, size)]


def move(tree: Any, device: torch.device | str) -> Any:
    """Return the tree with all tensors on a device."""
    return map_tensors(lambda tensor: tensor.to(device), tree)
