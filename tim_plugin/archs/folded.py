"""A network as it samples fastest: each normalised weight computed once, and in the layout that processors prefer."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from tim_plugin.imle.tower_runner import is_sharded
from tim_plugin.utils.tensor_files import LARGE_BYTES


def folded(tower: Any) -> Any:
    """Return a tower, or a wrapper of one, that gives the same images faster; the given one is left as it is.

    Parametrised weights, such as weight-normalised ones, are replaced by their values. On a processor the
    convolutions' weights have their channels side by side in memory, so that maps have them too: images differ by
    about 1e-6. All else is shared with the given tower; weights that change later are not followed.

    Args:
        tower: Any; a wrapper has its network as ``tower``. What is no network, is sharded over processes, or has more
            weights than 256 MiB, of which no second copy is made, is returned as it is.
    """
    if not isinstance(tower, nn.Module):
        if not hasattr(tower, "tower"):
            return tower
        wrapper = copy.copy(tower)
        wrapper.tower = folded(tower.tower)
        return wrapper
    size = sum(weight.numel() * weight.element_size() for weight in tower.parameters())
    is_done = not any(map(_changes, tower.modules()))
    return tower if is_done or size >= LARGE_BYTES or is_sharded(tower) else with_plain_weights(tower)


def _changes(module: nn.Module) -> bool:
    return parametrize.is_parametrized(module) or (
        isinstance(module, nn.Conv2d)
        and module.weight.device.type == "cpu"
        and not module.weight.is_contiguous(memory_format=torch.channels_last)
    )


def with_plain_weights(module: nn.Module) -> nn.Module:
    """Return a network as :func:`folded` does, of any size; what is not changed is shared with the given one."""
    # Not copy.deepcopy with remove_parametrizations: copies share the class that it would change.
    is_parametrised = parametrize.is_parametrized(module)
    clone = object.__new__(type(module).__bases__[0] if is_parametrised else type(module))
    clone.__dict__.update(module.__dict__)
    clone._parameters = dict(module._parameters)
    clone._modules = {
        name: None if child is None else with_plain_weights(child)
        for name, child in module._modules.items()
        if not (is_parametrised and name == "parametrizations")
    }
    if is_parametrised:
        for name in module.parametrizations:
            clone._parameters[name] = nn.Parameter(getattr(module, name).detach(), requires_grad=False)
    if isinstance(clone, nn.Conv2d) and clone.weight.device.type == "cpu":
        weight = clone.weight.detach().contiguous(memory_format=torch.channels_last)
        clone._parameters["weight"] = nn.Parameter(weight, requires_grad=False)
    return clone
