"""Tower Implicit Model for BasicSR: many plausible samples for one input, by conditional IMLE.

As a library::

    import tim_plugin as tim

    tower = tim.load("sr16x-small")  # tim.list_models() names those of the package; or a checkpoint
    samples = tower.sample("thumb.png", n=8, seed=0)  # .images (8, 3, H, W), .consistency, .save("results/")

In a BasicSR project ``import tim_plugin``, above the first import of ``basicsr``, is all: BasicSR becomes importable
with current torchvision (:mod:`tim_plugin.compat`), and the networks, models, datasets, losses and metrics of
:mod:`tim_plugin.register` are in its registries.

The import itself is quick: torch and BasicSR are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tim_plugin import compat

__version__ = "0.1.0"

if TYPE_CHECKING:
    from tim_plugin import imle, losses, metrics
    from tim_plugin.api import Samples, Tower, list_models, load, sample, test, train

__all__ = [
    "Samples",
    "Tower",
    "__version__",
    "imle",
    "list_models",
    "load",
    "losses",
    "metrics",
    "sample",
    "test",
    "train",
]

USERS_OF_BASICSR = ("data", "metrics", "models")
FOLDERS = ("imle", "losses", "metrics")  # whose names are used as tim.losses.PerceptualDistance


def _register() -> None:
    import_module("tim_plugin.register")


compat.on_first_use([f"{__name__}.{folder}" for folder in USERS_OF_BASICSR], _register)


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f"{__name__}.{name}") if name in FOLDERS else getattr(import_module(f"{__name__}.api"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
