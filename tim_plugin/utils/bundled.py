"""Weights that the package holds: safetensors files whose header says what they are, guarded by a table of checksums.

A file's header holds, as JSON texts, ``arguments`` (of the network that the weights are of) and ``about`` (how they
were made). On disk numbers are float16, in use float32.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from tim_plugin.utils.errors import TimError, did_you_mean
from tim_plugin.utils.images import read_bytes
from tim_plugin.utils.weight_headers import CHECKSUMS, FOLDER, HEADER_SIZE, SUFFIX, read_checksums
from tim_plugin.utils.writing import write_atomically, write_json


class Weights(NamedTuple):
    """What a weights file holds: ``state`` (float32), the network's ``arguments``, and ``about``: how it was made."""

    state: dict[str, Tensor]
    arguments: dict[str, Any]
    about: dict[str, Any]


def known(folder: Path = FOLDER) -> tuple[str, ...]:
    """Return the names of the weights that the package holds, sorted."""
    return tuple(sorted(read_checksums(folder)))


def path_of(name: str, folder: Path = FOLDER) -> Path:
    """Return the path of the weights of a name, whether or not they are there."""
    return folder / f"{name}{SUFFIX}"


def read_bundled(name: str, folder: Path = FOLDER) -> Weights:
    """Read weights that the package holds.

    Args:
        name: One of :func:`known`.
        folder: Where the files and their table are.

    Raises:
        TimError: There are none of that name, or the file is missing or differs from the one that was put there.
    """
    checksums = read_checksums(folder)
    if name not in checksums:
        offer = did_you_mean(str(name), checksums)
        raise TimError(f"bundled weights {name!r} are not known: {offer} ({folder / CHECKSUMS})")
    path = path_of(name, folder)
    content = _content(path)
    found = hashlib.sha256(content).hexdigest()
    if found != checksums[name]:
        raise TimError(
            f"{path}: truncated or edited: its SHA-256 is {found[:12]}..., and not {checksums[name][:12]}... as "
            f"{CHECKSUMS} beside it says; install tim_plugin again"
        )
    return _parsed(content, path)


def read_weights(path: Path | str) -> Weights:
    """Read a file that :func:`write_weights` has written, wherever it is.

    Raises:
        TimError: It cannot be read, is damaged, or its header does not say what it is.
    """
    return _parsed(_content(Path(path)), Path(path))


def write_weights(
    path: Path, state: Mapping[str, Tensor], arguments: Mapping[str, Any], about: Mapping[str, Any]
) -> str:
    """Write tensors as float16, whole or not at all; folders are made. Return the file's SHA-256.

    Args:
        path: Of the file.
        state: Floating point tensors.
        arguments: Of the network, plain values.
        about: How the weights were made, plain values.

    Raises:
        TimError: A number is too large for float16.
    """
    half = {key: value.detach().cpu().half().contiguous() for key, value in state.items()}
    for key, value in half.items():
        if not torch.isfinite(value).all():
            raise TimError(f"{path}: {key} holds a number that float16 does not")
    content = save(half, {"arguments": json.dumps(dict(arguments)), "about": json.dumps(dict(about))})
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content)
    return hashlib.sha256(content).hexdigest()


def bundle(name: str, path: Path, folder: Path = FOLDER) -> Path:
    """Copy a file of :func:`write_weights` into the package and enter its checksum; return its new path.

    Args:
        name: What it is to be called.
        path: The file.
        folder: Where the package's files and their table are.

    Raises:
        TimError: It cannot be read.
    """
    content = _content(path)
    _parsed(content, path)
    target, table = path_of(name, folder), folder / CHECKSUMS
    folder.mkdir(parents=True, exist_ok=True)
    checksums = read_checksums(folder) if table.is_file() else {}
    write_atomically(target, content)
    write_json(table, dict(sorted({**checksums, name: hashlib.sha256(content).hexdigest()}.items())))
    return target


def _content(path: Path) -> bytes:
    return read_bytes(path.expanduser())


def _parsed(content: bytes, path: Path) -> Weights:
    try:
        state = load(content)
        length = int.from_bytes(content[:HEADER_SIZE], "little")
        header = json.loads(content[HEADER_SIZE : HEADER_SIZE + length])["__metadata__"]
        arguments, about = (json.loads(header[key]) for key in ("arguments", "about"))
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise TimError(
            f"{path}: no safetensors file with 'arguments' and 'about' in its header, or damaged "
            f"({type(error).__name__}); give one that tim_plugin has written"
        ) from error
    return Weights({key: value.float() for key, value in state.items()}, arguments, about)
