"""Distances between images, their feature networks, and the BasicSR losses made of them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tim_plugin.losses.distance import PerceptualDistance, PixelDistance

__all__ = ["PerceptualDistance", "PixelDistance"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("tim_plugin.losses.distance"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
