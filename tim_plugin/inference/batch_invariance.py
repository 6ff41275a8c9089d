"""Samples that do not depend on how many are drawn: what is computed of one item rounds as it does in a batch.

On a processor PyTorch leaves a convolution of one small item to another library than that of several; a dense layer
adds in an order that depends on the number of its rows, a matrix product in one that depends on where an item
begins in memory, and a power rounds otherwise behind the last whole vector of a tensor. They differ in the last bit,
which is 1/255 of a pixel here and there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

SMALL = 20480  # values of an item: PyTorch's own limit (ConvParams::use_mkldnn in Convolution.cpp)
ALIGNED_BYTES = 64  # as PyTorch allocates
BY_ITEM = (torch.matmul, torch.einsum, Tensor.matmul, Tensor.__matmul__, torch.pow, Tensor.pow, Tensor.__pow__)


class BatchInvariant(TorchFunctionMode):
    """As a context, layers, matrix products and powers on a processor give each item the same bits in any batch.

    A convolution of one small item is computed as of two. A dense layer of the mapping networks, and the projection
    onto principal components, are computed item by item, each as one of two; the products of other projections, and
    powers, item by item.
    """

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if function in BY_ITEM and any(_has_items(one) for one in args):
            return _item_by_item(function, args)
        if function in (torch.conv2d, F.linear) and args[0].device.type == "cpu":
            items, *others = args
            is_dense = function is F.linear and items.dim() == 2
            if is_dense or (function is torch.conv2d and len(items) == 1 and items.numel() <= SMALL):
                parts = [function(torch.cat([item, item]), *others, **kwargs)[:1] for item in items.split(1)]
                return parts[0] if len(parts) == 1 else torch.cat(parts)
        return function(*args, **kwargs)


def _has_items(operand: Any) -> bool:
    return isinstance(operand, Tensor) and operand.dim() >= 4 and operand.device.type == "cpu"


def _item_by_item(function: Callable[..., Any], args: Sequence[Any]) -> Tensor:
    """Call a function whose operands of four dimensions and more, and its result, have the items first."""
    count = max(len(one) for one in args if _has_items(one))

    def of_item(operand: Any, index: int) -> Any:
        return _aligned(operand[index % len(operand)][None]) if _has_items(operand) else operand

    parts = [function(*(of_item(one, index) for one in args)) for index in range(count)]
    return parts[0] if count == 1 else torch.cat(parts)


def _aligned(item: Tensor) -> Tensor:
    return item if item.data_ptr() % ALIGNED_BYTES == 0 else item.clone()
