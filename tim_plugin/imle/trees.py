"""The batch dimension of what a level returns: a tensor, None, or a (named) tuple or list of such."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def map_tensors(function: Callable[..., Tensor], *trees: Any) -> Any:
    """Apply a function to the tensors in the same place of each tree; None stays None."""
    first = trees[0]
    if first is None:
        return None
    if isinstance(first, Tensor):
        return function(*trees)
    mapped = [map_tensors(function, *parts) for parts in zip(*trees, strict=True)]
    return type(first)(*mapped) if hasattr(first, "_fields") else type(first)(mapped)


def tile(tree: Any, times: int) -> Any:
    """Repeat the whole batch: item i of repetition j stands at j * N + i."""
    return map_tensors(lambda tensor: tensor.repeat(times, *[1] * (tensor.dim() - 1)), tree)


def take(tree: Any, items: Tensor) -> Any:
    """Index along the batch."""
    return map_tensors(lambda tensor: tensor[items], tree)


def choose(mask: Tensor, chosen: Any, other: Any) -> Any:
    """Take items of ``chosen`` where the boolean mask (N,) is true, of ``other`` elsewhere."""
    return map_tensors(lambda a, b: torch.where(mask.view(-1, *[1] * (a.dim() - 1)), a, b), chosen, other)
