"""A network of a ``network_g`` section: the tower, or one that is registered."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tim_plugin.utils.errors import TimError
from tim_plugin.utils.weight_headers import TOWER

TOWER_MODULE = "tim_plugin.archs.tower_arch"  # by name: networks stand above this folder


def network_of(options: Mapping[str, Any], without_weights: bool = False, path: Path | str | None = None) -> nn.Module:
    """Build the network of a ``network_g`` section (``type`` and the network's arguments), untrained, in eval mode.

    Args:
        options: The section.
        without_weights: Its weights take no memory until :func:`load_into` assigns them.
        path: The file that the section is from, for errors; None: the options were checked before.

    Raises:
        TimError: There is no such network, or it has no such arguments, or refuses their values.
    """
    arguments = {key: value for key, value in options.items() if key != "type"}
    cannot = f"{'' if path is None else f'{path}: '}network_g cannot be built"
    network = _network_class(options.get("type"))
    if network is None:
        raise TimError(
            f"{cannot}: neither BasicSR nor this package has a network {options.get('type')!r}: in Python import what "
            "registers it first, or use tools/test.py where it is registered"
        )
    try:
        signature(network).bind(**arguments)
        with torch.device("meta") if without_weights else nullcontext():
            return network(**arguments).eval()
    except (TypeError, KeyError, TimError) as error:
        if path is None:
            raise
        raise TimError(f"{cannot}: {options['type']}: {str(error).removeprefix('network_g: ')}") from error


def _network_class(name: Any) -> type[nn.Module] | None:
    if name == TOWER:  # known without BasicSR, whose import takes seconds
        return import_module(TOWER_MODULE).TowerGenerator
    from basicsr.archs import ARCH_REGISTRY  # and not build_network, which logs to the console

    return ARCH_REGISTRY.get(name) if isinstance(name, str) and name in ARCH_REGISTRY else None
