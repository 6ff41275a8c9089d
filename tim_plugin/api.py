"""The front door: what ``import tim_plugin as tim`` offers, beside the folders ``imle``, ``losses`` and ``metrics``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any

import torch

from tim_plugin.inference.arguments import PYTHON_NAMES, arguments_named
from tim_plugin.inference.devices import choose_device
from tim_plugin.inference.files import sample_files
from tim_plugin.inference.record import Entry
from tim_plugin.inference.sample_set import Samples
from tim_plugin.inference.tower import Tower
from tim_plugin.inference.towers import open_network
from tim_plugin.options.option_file import read_option_file, read_with_overrides
from tim_plugin.options.plain_checks import shown
from tim_plugin.utils.allocator import keep_freed_memory
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.names import require_path
from tim_plugin.utils.task_options import find_option_file
from tim_plugin.utils.weight_headers import list_towers

__all__ = ["Samples", "Tower", "list_models", "load", "sample", "test", "train"]


def list_models() -> dict[str, str]:
    """Return what each tower of the package does, in one sentence, by the name that :func:`load` takes.

    Example::

        for name, sentence in tim_plugin.list_models().items():
            print(name, sentence)
    """
    return {name: facts.what for name, facts in list_towers().items()}


def load(name_or_path: str | Path, device: str | torch.device | None = None, *, task: str | None = None) -> Tower:
    """Return a tower of the package, or that of a checkpoint, which holds what rebuilds the network.

    Args:
        name_or_path: One of :func:`list_models`, or the path of a checkpoint (``net_g_latest.pth``, a safetensors
            file, or a file of the method's authors).
        device: ``cpu``, ``cuda``, ``cuda:1``; None takes CUDA where there is one.
        task: What a file of the method's authors is for, where its keys do not say it: ``super_resolution``,
            ``colorization``, ``decompression``, ``generic``, ``layouts``.

    On Linux, memory that this process frees is kept from now on (:mod:`tim_plugin.utils.allocator`).

    Raises:
        TimError: There is no such tower, file or device, the file is damaged, or its network is not a tower.

    Example::

        tower = tim_plugin.load("sr16x-small", device="cpu")
        tower.task, tower.scale, tower.num_levels  # ("sr16x", 16, 4)
    """
    require_path("name_or_path", name_or_path, "give a name of tim_plugin.list_models(), or a checkpoint's path")
    keep_freed_memory()
    with arguments_named():
        network, options, file = open_network(
            name_or_path, choose_device(None if device is None else str(device)), task
        )
    if not hasattr(network, "forward_level"):
        raise TimError(
            f"{name_or_path}: is a {options.get('type')}, whose inputs only a data set knows how to read: use "
            "tim_plugin.test with its option file"
        )
    return Tower(network, str(name_or_path), options, file)


@wraps(sample_files)
def sample(*arguments: Any, **named: Any) -> list[Entry]:
    """Do :func:`tim_plugin.inference.files.sample_files`; errors name the arguments, and no options of the command."""
    with arguments_named(PYTHON_NAMES):
        return sample_files(*arguments, **named)


def train(
    options: str | Path,
    overrides: Mapping[str, Any] | None = None,
    *,
    root: str | Path | None = None,
    auto_resume: bool = False,
    on_step: Callable[[int, Mapping[str, float]], None] | None = None,
) -> Path:
    """Train by an option file, as ``tim train`` does.

    Args:
        options: Path of an option file, or the name of one of the package (``sr16x``, see ``tim options``).
        overrides: Options in place of the file's: ``{"train:total_iter": 5}``, or ``{"train": {"total_iter": 5}}``. A
            mapping changes the keys that it names; one with another ``type`` takes the whole section's place.
        root: Results go to ``root/experiments/NAME``, unless the file has ``path: experiments_root``; None: the current
            folder.
        auto_resume: Go on from the newest training state, if any.
        on_step: Called after each iteration with its number and what it logs.

    Returns:
        The experiment's folder; the last checkpoint is ``models/net_g_latest.pth`` there.

    Raises:
        TimError: An option, a folder or a file is wrong.
        NonFiniteError: A loss became NaN or infinite.

    Example::

        folder = tim_plugin.train("sr16x", {"datasets:train:dataroot_gt": "photos", "num_gpu": 0})
        tower = tim_plugin.load(folder / "models" / "net_g_latest.pth")
    """
    if on_step is not None and not callable(on_step):
        raise TimError(
            f"on_step is of type {type(on_step).__name__}: give a function of the iteration's number and what it logs"
        )
    root = _root(root)
    opt, argv = _with_overrides(options, overrides, "train")
    from tim_plugin.models.pipeline import train_pipeline  # here: it imports BasicSR

    train_pipeline(str(root), [*argv, "--auto_resume"] if auto_resume else argv, on_step)
    return _folder_of(opt, root, "experiments")


def test(options: str | Path, overrides: Mapping[str, Any] | None = None, *, root: str | Path | None = None) -> Path:
    """Sample and measure data sets by an option file, as ``tim test`` does; the figures are logged.

    Args:
        options: See :func:`train`; so is ``overrides``.
        overrides: ``{"path:pretrain_network_g": "net_g_latest.pth"}`` names the checkpoint.
        root: Results go to ``root/results/NAME``, unless the file has ``path: results_root``; None: the current folder.

    Returns:
        The folder of results: samples in ``visualization/DATA_SET``, and the log.

    Raises:
        TimError: An option, a folder or a file is wrong.

    Example::

        tim_plugin.test("sr16x", {"path:pretrain_network_g": "net_g_latest.pth", "num_gpu": 0})
    """
    root = _root(root)
    opt, argv = _with_overrides(options, overrides, "test")
    from tim_plugin.models.pipeline import test_pipeline  # here: it imports BasicSR

    test_pipeline(str(root), argv)
    return _folder_of(opt, root, "results")


def _root(root: str | Path | None) -> Path:
    return Path.cwd() if root is None else require_path("root", root, "give the folder for results, or None")


def _with_overrides(
    options: str | Path, overrides: Mapping[str, Any] | None, phase: str
) -> tuple[dict[str, Any], list[str]]:
    require_path("options", options, "give the path of an option file, or one of the names of tim options")
    overrides = {} if overrides is None else overrides
    if not isinstance(overrides, Mapping):
        example = '{"train:total_iter": 5}'
        raise TimError(f"overrides is a {type(overrides).__name__}: give a mapping such as {example}, or None")
    _check_keys("overrides", overrides)
    file = find_option_file(options, phase)
    return read_with_overrides(file, _flat(overrides, read_option_file(file)))


def _check_keys(where: str, value: Any) -> None:
    """Refuse keys, however deep, that are no text."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            if not isinstance(key, str) or "=" in key:
                raise TimError(f"{where}: key {shown(key)} must be a text without '=': SECTION:KEY, or KEY")
            _check_keys(f"{where}: {key}", part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            _check_keys(where, part)


def _flat(overrides: Mapping[str, Any], section: Any, prefix: str = "") -> dict[str, Any]:
    """Return values by SECTION:KEY; a mapping changes the keys of a section, or replaces one of another ``type``."""
    found: dict[str, Any] = {}
    for key, value in overrides.items():
        there = section
        for part in key.split(":"):
            there = there.get(part) if isinstance(there, Mapping) else None
        changes = isinstance(value, Mapping) and isinstance(there, Mapping)
        if changes and value.get("type", there.get("type")) == there.get("type"):
            found |= _flat(value, there, f"{prefix}{key}:")
        else:
            found[f"{prefix}{key}"] = value
    return found


def _folder_of(opt: Mapping[str, Any], root: Path, kind: str) -> Path:
    own = (opt.get("path") or {}).get(f"{kind}_root")
    return (root / kind if own is None else Path(own).expanduser()) / opt["name"]
