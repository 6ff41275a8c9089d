"""The towers that come with the package, by name; and a network by name or from a checkpoint."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save
from torch import Tensor, nn

from tim_plugin.utils import bundled, weight_headers
from tim_plugin.utils.bundled import Weights
from tim_plugin.utils.checkpoints import load_into, load_network, network_g_of, parameters_of, plain, read_checkpoint
from tim_plugin.utils.errors import TimError, did_you_mean
from tim_plugin.utils.networks import network_of
from tim_plugin.utils.weight_headers import TOWER
from tim_plugin.utils.writing import write_atomically


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
        raise _no_tower(f"--model {name}", name)
    network = network_of(weights.arguments, path=path_of(name))
    load_into(network, weights.state, path_of(name))
    return Opened(network.requires_grad_(False).to(device), weights.arguments, path_of(name))


def open_network(model: Path | str, device: torch.device | str = "cpu", task: str | None = None) -> Opened:
    """Return the network of a checkpoint's path, or the tower of a name; a path has a suffix or a folder.

    Args:
        model: The path, or the name.
        device: Where it is to be.
        task: Of a file of the method's authors, see :func:`tim_plugin.utils.checkpoints.load_network`.

    Raises:
        TimError: It is neither, or the file is damaged.
    """
    path = Path(model).expanduser()
    if _is_path(path):
        return Opened(*load_network(path, device, task=task), path)
    if task is not None:
        raise TimError(f"--task {task}: says what a file of the method's authors is for, and --model {model} is none")
    return load(str(model), device)


def _is_path(model: Path) -> bool:
    return bool(model.suffix) or len(model.parts) > 1 or os.path.isfile(model)


def _no_tower(where: str, name: str) -> TimError:
    return TimError(f"{where}: is neither a file nor a tower of this package: {did_you_mean(name, towers())}")


def file_of(model: Path | str) -> Path:
    """Return a checkpoint's path, or that of the file of a tower's name; a path has a suffix or a folder.

    Raises:
        TimError: It is neither.
    """
    path = Path(model).expanduser()
    if _is_path(path):
        return path
    if str(model) not in bundled.known(bundled.FOLDER):
        raise _no_tower(str(model), str(model))
    return path_of(str(model))


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


def convert(model: Path | str, output: Path | str, task: str | None = None) -> dict[str, Any]:
    """Write a checkpoint's network as a safetensors file that holds its arguments; return its ``network_g`` section.

    Args:
        model: A checkpoint, a file of the method's authors, or a tower's name. Where it has EMA weights, they are
            taken.
        output: Of the suffix ``.safetensors``; folders are made.
        task: Of a file of the method's authors, see :func:`tim_plugin.utils.checkpoints.load_network`.

    Raises:
        TimError: The file cannot be read, or is not complete, or ``output`` is of another suffix or the file itself.
    """
    model, output = file_of(model), Path(output).expanduser()
    if output.suffix != weight_headers.SUFFIX:
        raise TimError(f"-o {output}: is written as {weight_headers.SUFFIX}: give a name with that suffix")
    if output.exists() and model.exists() and output.samefile(model):
        raise TimError(f"-o {output}: is the file that is read: give another name")
    checkpoint = read_checkpoint(model)
    options = plain(network_g_of(checkpoint, model, task=task), Tensor.tolist)
    network = network_of(options, without_weights=True, path=model)
    state = parameters_of(checkpoint, model, network=network)
    load_into(network, state, model, assign=True)  # says what does not fit
    header = {"arguments": json.dumps(options), "about": json.dumps({"what": f"converted from {model.name}"})}
    output.parent.mkdir(parents=True, exist_ok=True)
    content = save({key: value.contiguous() for key, value in state.items()}, header)
    write_atomically(output, content)
    return options


def described() -> str:
    """Return a line for each tower: its name, its size and what it does."""
    return weight_headers.described(bundled.FOLDER)
