"""The towers that come with the package, by name; and a network by name or from a checkpoint."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tim_plugin.utils import bundled, weight_headers
from tim_plugin.utils.bundled import Weights
from tim_plugin.utils.checkpoints import load_into, load_network, network_of, plain
from tim_plugin.utils.errors import TimError, did_you_mean
from tim_plugin.utils.weight_headers import TOWER


class Opened(NamedTuple):
    """A network in eval mode, its ``network_g`` section, and the file that it is from."""

    network: nn.Module
    options: dict[str, Any]
    file: Path


def towers() -> dict[str, Weights]:
    """Return the towers that the package holds, by name, sorted.

    Raises:
        TimError: A file was changed since it was put there.
    """
    found = {name: bundled.read_bundled(name, bundled.FOLDER) for name in bundled.known(bundled.FOLDER)}
    return {name: weights for name, weights in found.items() if weights.arguments.get("type") == TOWER}


def path_of(name: str) -> Path:
    """Return a tower's file."""
    return bundled.path_of(name, bundled.FOLDER)


def load(name: str, device: torch.device | str = "cpu") -> Opened:
    """Build a tower of the package.

    Args:
        name: A key of :func:`towers`.
        device: Where it is to be.

    Raises:
        TimError: There is no such tower, or its file was changed since it was put there.
    """
    is_there = name in bundled.known(bundled.FOLDER)
    weights = bundled.read_bundled(name, bundled.FOLDER) if is_there else None
    if weights is None or weights.arguments.get("type") != TOWER:
        raise TimError(f"--model {name}: is neither a file nor a tower of this package: {did_you_mean(name, towers())}")
    network = network_of(weights.arguments)
    load_into(network, weights.state, path_of(name))
    return Opened(network.requires_grad_(False).to(device), weights.arguments, path_of(name))


def open_network(model: Path | str, device: torch.device | str = "cpu") -> Opened:
    """Return the network of a checkpoint's path, or the tower of a name; a path has a suffix or a folder.

    Raises:
        TimError: It is neither, or the file is damaged.
    """
    path = Path(model).expanduser()
    if path.suffix or len(path.parts) > 1 or path.is_file():
        return Opened(*load_network(path, device), path)
    return load(str(model), device)


def write(name: str, network: nn.Module, options: Mapping[str, Any], what: str) -> None:
    """Write a tower into the package's folder of weights, where :func:`towers` and ``--model NAME`` find it.

    Args:
        name: Its name from now on.
        network: The tower; its parameters are rounded to half precision.
        options: Its ``network_g`` section.
        what: One line for people.

    Raises:
        TimError: A parameter is too large for half precision.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / name
        bundled.write_weights(file, network.state_dict(), plain(options, Tensor.tolist), {"what": what})
        bundled.bundle(name, file, bundled.FOLDER)


def described() -> str:
    """Return a line for each tower: its name, its size and what it does."""
    return weight_headers.described(bundled.FOLDER)
