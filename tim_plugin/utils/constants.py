"""Cache of small constant matrices, one copy for each precision and device."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor


def constant(build: Callable[[], Tensor], like: Tensor) -> Tensor:
    """Return ``build()`` in the precision and on the device of a tensor, kept for the next call. Do not write to it.

    Args:
        build: A function of a module (it is the key that the constant is kept by).
        like: A tensor of the wanted kind.
    """
    return _kept(build, like.dtype, like.device)


@lru_cache(maxsize=64)
def _kept(build: Callable[[], Tensor], dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # what a sampling run keeps must serve a training step too
        return build().to(device, dtype)
