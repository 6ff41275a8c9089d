"""Measures of one image, of the samples of an input, and of sets of images; and what BasicSR's ``val: metrics`` calls.

``diversity`` and ``fwv`` are plain functions of tensors. They are imported when they are first asked for, so that a
command that only parses its arguments does not load torch for them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tim_plugin.metrics.sample_measures import diversity, fwv

__all__ = ["diversity", "fwv"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("tim_plugin.metrics.sample_measures"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
