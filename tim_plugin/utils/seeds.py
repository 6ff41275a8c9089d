"""Seeds derived from a key that says what they are for, and so not from order, batch size or earlier draws."""

from __future__ import annotations

import hashlib

import torch

from tim_plugin.utils.names import in_bytes


def derive_seed(*key: int | str) -> int:
    """Return a seed in [0, 2**63) that is a pure function of the key.

    Args:
        key: Integers and strings, for example ``(seed, 'photo', sample, level)``. ``1`` and ``'1'`` are different keys.
    """
    text = "\x1f".join(f"{type(part).__name__[0]}:{part}" for part in key)
    return int.from_bytes(hashlib.sha256(in_bytes(text)).digest()[:8], "big") >> 1


def keyed_generator(*key: int | str, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a generator on ``device`` seeded by :func:`derive_seed`."""
    return torch.Generator(device=device).manual_seed(derive_seed(*key))
