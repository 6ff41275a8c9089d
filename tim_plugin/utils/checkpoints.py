"""Reading and writing weights: BasicSR's layout plus the network's own arguments, written whole or not at all.

A checkpoint is ``{'params': ..., 'params_ema': ..., 'network_g': {'type': ..., arguments}}``. BasicSR reads it as its
own; :func:`load_network` rebuilds the network from it without an option file. Flat state dicts and files with only
``params`` or ``params_ema`` load too, safetensors files whose header has the arguments, and the files of the method's
authors (:mod:`tim_plugin.utils.authors_files`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tim_plugin.utils import authors_files
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.json_files import parse_json
from tim_plugin.utils.networks import network_of
from tim_plugin.utils.tensor_files import SHOWN_KEYS, differences, first_of, load_intact, read_tensors, shapes_of
from tim_plugin.utils.weight_headers import SUFFIX, TOWER, read_header
from tim_plugin.utils.writing import replacing

_PARAM_KEYS = ("params_ema", "params", "state_dict", "model")
STATE = {"epoch": int, "iter": int, "optimizers": list, "schedulers": list}  # what BasicSR resumes from


def save_atomically(content: Any, path: Path | str) -> None:
    """Write ``content`` by ``torch.save`` to a temporary file, then rename it to ``path``: never half a file.

    Raises:
        OSError: The file cannot be written; what was at ``path`` is untouched.
    """
    with replacing(Path(path)) as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:  # torch says 'unexpected pos', and why is lost
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


def read_checkpoint(path: Path | str) -> dict[str, Any]:
    """Read a checkpoint (``.pth``, ``.safetensors``) on the CPU; nothing in it is run.

    Raises:
        TimError: There is no such file, or it is damaged, or it holds more than tensors and plain values.
    """
    if not Path(path).is_file():
        raise TimError(
            f"{path}: there is no such checkpoint; give a .pth file, such as experiments/NAME/models/net_g_latest.pth"
        )
    try:
        content = read_tensors(path)
    except Exception as error:
        raise TimError(
            f"{path}: cannot be read as a checkpoint: it is damaged, no PyTorch file, or holds more than "
            f"tensors and plain values ({type(error).__name__})"
        ) from error
    if not isinstance(content, Mapping):
        raise TimError(f"{path}: holds a {type(content).__name__}, not a dictionary of parameters")
    return _with_arguments(content, Path(path)) if Path(path).suffix == SUFFIX else dict(content)


def _with_arguments(state: Mapping[str, Tensor], path: Path) -> dict[str, Any]:
    """Return a safetensors file's content in a checkpoint's layout: its header may hold the network's arguments."""
    try:
        arguments = parse_json(read_header(path).get("__metadata__", {}).get("arguments", "{}"), {"type?": str})
    except ValueError as error:
        raise TimError(f"{path}: 'arguments' of its header: {error}; they are a network's, as JSON") from error
    return {"params": dict(state)} | ({"network_g": arguments} if "type" in arguments else {})


def read_state(path: Path | str, keys: Iterable[str] = tuple(STATE)) -> dict[str, Any]:
    """Read a training state on the CPU with ``weights_only=True``.

    Args:
        path: Of the file.
        keys: Of :data:`STATE`, which it must have; that of a rank above 0 has no optimizers.

    Raises:
        TimError: There is no such file, or it is damaged, or no training state.
    """
    if not Path(path).is_file():
        raise TimError(f"path: resume_state: there is no file {path}; give an existing N.state, or leave it empty (~)")
    try:
        state = load_intact(path)
    except Exception as error:
        raise TimError(
            f"path: resume_state: {path} cannot be read ({type(error).__name__}: it is damaged or not a "
            "training state); give the one before, or use --auto_resume"
        ) from error
    if not isinstance(state, Mapping):
        raise TimError(
            f"path: resume_state: {path}: holds a {type(state).__name__}, no training state; give an N.state"
        )
    if any(key in state for key in _PARAM_KEYS):
        raise TimError(
            f"path: resume_state: {path}: is a network's file, no training state; give one of training_states, such as "
            "1000.state, or name it as path: pretrain_network_g"
        )
    for key in keys:
        if not isinstance(state.get(key), STATE[key]) or isinstance(state[key], bool):
            raise TimError(f"path: resume_state: {path}: is no training state: it has no {key}; give an N.state")
    return dict(state)


def parameters_of(
    checkpoint: Mapping[str, Any], path: Path | str, param_key: str | None = None, network: nn.Module | None = None
) -> dict[str, Tensor]:
    """Pick the state dict out of a checkpoint of any of the layouts.

    Args:
        checkpoint: What :func:`read_checkpoint` gave.
        path: For errors.
        param_key: ``params`` or ``params_ema``; where the file has not got it, or for None, the other is taken
            (EMA first), then ``state_dict`` or ``model``, and last the file itself if it is flat.
        network: If it has ``renamed``, a public file's keys become its own by that.

    Raises:
        TimError: No layout fits.
    """
    if param_key and param_key not in (*_PARAM_KEYS, *checkpoint):
        raise TimError(
            f"{path}: has no parameters by the name {param_key!r} (path: param_key_g): it has "
            f"{', '.join(list(checkpoint)[:SHOWN_KEYS])}"
        )
    for key in ([param_key] if param_key else []) + list(_PARAM_KEYS):
        if isinstance(checkpoint.get(key), Mapping):
            state = checkpoint[key]
            break
    else:
        state = checkpoint
    if not state or not all(isinstance(key, str) and isinstance(value, Tensor) for key, value in state.items()):
        raise TimError(
            f"{path}: has no parameters: expected 'params', 'params_ema' or a flat state dict, "
            f"found the keys {list(checkpoint)[:SHOWN_KEYS]}"
        )
    state = {key.removeprefix("module."): value for key, value in state.items()}
    return network.renamed(state) if hasattr(network, "renamed") else state


def load_into(
    network: nn.Module, state: Mapping[str, Tensor], path: Path | str, strict: bool = True, assign: bool = False
) -> list[str]:
    """Load a state dict, and on a mismatch say which keys differ first.

    Args:
        network: The (unwrapped) network.
        state: Its parameters.
        path: For errors.
        strict: False loads what fits.
        assign: The network takes the tensors themselves, and not a copy.

    Returns:
        With ``strict: False``, one line for each key that did not fit.

    Raises:
        TimError: ``strict`` and something is missing, unknown or of another shape.
    """
    own = network.state_dict()
    found = differences(shapes_of(own), shapes_of(state))
    if found and strict:
        raise TimError(
            f"{path} does not fit the network: {first_of(found)}. Use the network_g that it was trained with, or "
            "strict_load_g: false to load what fits"
        )
    fitting = {key: value for key, value in state.items() if key in own and own[key].shape == value.shape}
    if assign:
        fitting = {key: value.to(own[key].dtype) for key, value in fitting.items()}
    network.load_state_dict(fitting, strict=False, assign=assign)
    return found


def load_network(
    path: Path | str,
    device: torch.device | str = "cpu",
    options: Mapping[str, Any] | None = None,
    task: str | None = None,
) -> tuple[nn.Module, dict[str, Any]]:
    """Rebuild a network from its checkpoint alone, with the EMA weights where it has them, in eval mode.

    A tower takes the tensors that were read, so that there is no second copy of them.

    Args:
        path: Of the checkpoint.
        device: Where the network is to be.
        options: A ``network_g`` section for a checkpoint that holds none (BasicSR's own, or another project's).
        task: What a file of the method's authors is for, where its keys do not say it
            (:func:`tim_plugin.utils.authors_files.network_g_of`).

    Returns:
        The network and the checkpoint's ``network_g`` section.

    Raises:
        TimError: The file cannot be read, does not hold its network's arguments, or does not fit them.
    """
    checkpoint = read_checkpoint(path)
    options = network_g_of(checkpoint, path, options, task)
    network = network_of(options, options.get("type") == TOWER, path)
    load_into(network, parameters_of(checkpoint, path, network=network), path, assign=options.get("type") == TOWER)
    return network.requires_grad_(False).to(device), dict(options)


def network_g_of(
    checkpoint: Mapping[str, Any], path: Path | str, options: Mapping[str, Any] | None = None, task: str | None = None
) -> Mapping[str, Any]:
    """Return the ``network_g`` section that a checkpoint holds, or that the shapes of an authors' file say.

    Args:
        checkpoint: What :func:`read_checkpoint` gave.
        path: For errors.
        options: Of a checkpoint that says nothing.
        task: See :func:`load_network`.

    Raises:
        TimError: There is none.
    """
    found = checkpoint.get("network_g", options)
    if isinstance(found, Mapping):
        if task is not None:
            raise TimError(f"task {task!r}: {path} says itself what it is for; leave task out")
        return found
    theirs = authors_files.without_prefix(parameters_of(checkpoint, path)) if checkpoint else None
    if theirs is None:
        keys = ", ".join(map(str, list(parameters_of(checkpoint, path))[:SHOWN_KEYS])) if checkpoint else "none"
        raise TimError(
            f"{path}: does not hold its network's arguments ('network_g'); checkpoints written by tim_plugin "
            f"do, and the keys of this one ({keys}, ...) are not those of the method's authors. Use tools/test.py "
            "with an option file that has the network_g section instead"
        )
    return authors_files.network_g_of(theirs, path, task)


def require_same_network(network: nn.Module, checkpoint: Mapping[str, Any], path: Path | str) -> list[str]:
    """Compare a network with what a checkpoint says of its own, beyond the shapes of its tensors.

    Args:
        network: The (unwrapped) network that the checkpoint is to be loaded into.
        checkpoint: As read; one without ``network_g`` says nothing.
        path: For errors.

    Returns:
        One line for each option that differs and does not change what the weights mean.

    Raises:
        TimError: The checkpoint was trained on inputs that the network would read in another way, or its weights were.
    """
    stored = checkpoint.get("network_g")
    if not isinstance(stored, Mapping):
        return []
    if hasattr(network, "degradation"):
        section = stored.get("degradation")
        network.degradation.require_same(section if isinstance(section, Mapping) else {}, str(path))
    is_tower = stored.get("type") == TOWER and hasattr(network, "spec")
    return network.spec.require_same(stored, str(path)) if is_tower else []


def plain(options: Any, of_tensor: Callable[[Tensor], Any] = lambda tensor: tensor) -> Any:
    """Return options as plain dicts and lists, which ``weights_only`` loads.

    Args:
        options: A section, or a part of it.
        of_tensor: What stands for a tensor, such as a PCA basis that a checkpoint keeps: itself, or what JSON holds.
    """
    if isinstance(options, Mapping):
        return {key: plain(value, of_tensor) for key, value in options.items()}
    if isinstance(options, Tensor):
        return of_tensor(options)
    return [plain(value, of_tensor) for value in options] if isinstance(options, (list, tuple)) else options
