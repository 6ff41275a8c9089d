"""Samples that do not depend on how many are drawn: what is computed of one item rounds as it does in a batch.

On a processor PyTorch leaves a convolution of one small item to another library than that of several, and a dense layer
adds in an order that depends on the number of its rows. Both differ in the last bit, which a tower amplifies to 1/255
of a pixel here and there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

SMALL = 20480  # values of an item: PyTorch's own limit (ConvParams::use_mkldnn in Convolution.cpp)


class BatchInvariant(TorchFunctionMode):
    """As a context, convolutions and dense layers on a processor give each item the same bits in any batch.

    A convolution of one small item is computed as of two. A dense layer of the mapping networks, and the projection
    onto principal components, are computed item by item, each as one of two.
    """

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if function in (torch.conv2d, F.linear) and args[0].device.type == "cpu":
            items, *others = args
            is_dense = function is F.linear and items.dim() == 2
            if is_dense or (function is torch.conv2d and len(items) == 1 and items.numel() <= SMALL):
                pairs = items.repeat_interleave(2, dim=0).split(2)
                return torch.cat([function(pair, *others, **kwargs) for pair in pairs])[::2]
        return function(*args, **kwargs)
