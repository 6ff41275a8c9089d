"""BasicSR's RRDB without the rest of BasicSR, whose import loads torchvision and SciPy and takes as long as torch's.

:func:`rrdb` runs the few files of BasicSR that the block needs, unmodified, in packages that hold nothing else. When a
program imports BasicSR later, it finds these modules in their place, so that each class exists once.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

MODULE = "basicsr.archs.rrdbnet_arch"
PACKAGES = ("basicsr", "basicsr.archs", "basicsr.utils")
FOUND_LATER: dict[str, Mapping[str, str]] = {"basicsr.utils": {"get_root_logger": "basicsr.utils.logger"}}

_lock = threading.RLock()
_loaded: dict[str, ModuleType] = {}  # by name, while BasicSR itself has not been imported


def rrdb() -> type[nn.Module]:
    """Return ``basicsr.archs.rrdbnet_arch.RRDB``: a block (N, C, H, W) -> (N, C, H, W) of ``RRDB(C, growth)``."""
    with _lock:
        if "basicsr" in sys.modules:
            return import_module(MODULE).RRDB
        if MODULE not in _loaded:
            try:
                _load()
            except ImportError:  # another version of BasicSR, whose file needs more: all of it
                return import_module(MODULE).RRDB
        return _loaded[MODULE].RRDB


def put_back() -> None:
    """Let an import of BasicSR that begins now find the modules that were loaded without it."""
    with _lock:
        sys.modules.update(_loaded)


def put_in_packages() -> None:
    """Make the modules attributes of their packages, once BasicSR has been imported."""
    with _lock:
        for name, module in _loaded.items():
            package, _, own = name.rpartition(".")
            setattr(sys.modules[package], own, module)
        _loaded.clear()


def _load() -> None:
    """Import the block's module below packages whose own files are not run; take them all out again."""
    from tim_plugin.compat import before_blocks  # here: it imports this module

    before_blocks()
    found = find_spec("basicsr")  # runs none of its files
    if found is None:
        raise ModuleNotFoundError("No module named 'basicsr'", name="basicsr")
    folder = found.submodule_search_locations[0]
    placed = {name: _package(name, folder + name.removeprefix("basicsr").replace(".", "/")) for name in PACKAGES}
    if "torchvision" not in sys.modules:  # BasicSR's file asks for its version when a deformable convolution runs
        placed["torchvision"] = _module("torchvision", lambda name: getattr(import_module("torchvision"), name))
    sys.modules.update(placed)
    try:
        import_module(MODULE)
        _loaded.update({name: module for name, module in sys.modules.items() if name.startswith("basicsr.")})
    finally:
        for name in [*placed, *(name for name in sys.modules if name.startswith("basicsr."))]:
            sys.modules.pop(name, None)
    for name in PACKAGES:
        _loaded.pop(name, None)


def _package(name: str, folder: str) -> ModuleType:
    found = FOUND_LATER.get(name, {})

    def attribute(wanted: str) -> Any:
        if wanted not in found:
            raise AttributeError(f"module {name!r} has no attribute {wanted!r}")
        return getattr(import_module(found[wanted]), wanted)

    package = _module(name, attribute)
    package.__path__ = [folder]
    return package


def _module(name: str, attribute: Callable[[str], Any]) -> ModuleType:
    module = ModuleType(name)
    module.__getattr__ = attribute
    return module
