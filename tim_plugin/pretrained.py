"""The towers that come with the package, by name; and a network by name or from a checkpoint."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tim_plugin import bundled
from tim_plugin.bundled import Weights
from tim_plugin.checkpoints import load_into, load_network, network_of
from tim_plugin.errors import TimError, did_you_mean

TOWER = "TowerGenerator"


class Opened(NamedTuple):
    """A network in eval mode, its ``network_g`` section, and the file that it is from."""

    network: nn.Module
    options: dict[str, Any]
    file: Path


def towers() -> dict[str, Weights]:
    """Return the towers that the package holds, by name, sorted.

    Raises:
        TimError: A file is not the one that was put there.
    """
    found = {name: bundled.read_bundled(name, bundled.FOLDER) for name in bundled.known(bundled.FOLDER)}
    return {name: weights for name, weights in found.items() if weights.arguments.get("type") == TOWER}


def path_of(name: str) -> Path:
    """Return a tower's file."""
    return bundled.FOLDER / f"{name}{bundled.SUFFIX}"


def load(name: str, device: torch.device | str = "cpu") -> Opened:
    """Build a tower of the package.

    Args:
        name: A key of :func:`towers`.
        device: Where it is to be.

    Raises:
        TimError: There is no such tower, or its file is not the one that was put there.
    """
    known = towers()
    if name not in known:
        raise TimError(f"--model {name}: is neither a file nor a tower of this package: {did_you_mean(name, known)}")
    network = network_of(known[name].arguments)
    load_into(network, known[name].state, path_of(name))
    return Opened(network.requires_grad_(False).to(device), known[name].arguments, path_of(name))


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
    """Put a tower among those that the package holds.

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
        bundled.write_weights(file, network.state_dict(), _plain(options), {"what": what})
        bundled.bundle(name, file, bundled.FOLDER)


def described() -> str:
    """Return a line for each tower: its name, its size and what it does."""
    lines = []
    for name, tower in towers().items():
        parameters = sum(one.numel() for one in tower.state.values()) / 1e6
        lines.append(f"{name:<20} {parameters:.2f} M parameters  {tower.about['what']}")
    return "\n".join(lines)


def _plain(options: Any) -> Any:
    """Options as JSON holds them; a tensor, such as a PCA basis, as lists."""
    if isinstance(options, Mapping):
        return {key: _plain(value) for key, value in options.items()}
    if isinstance(options, Tensor):
        return options.tolist()
    return [_plain(value) for value in options] if isinstance(options, (list, tuple)) else options
