"""Files of torchvision's weights: where they lie, their download, and what is read from them."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from tim_plugin.utils.errors import MissingWeightsError, TimError, did_you_mean
from tim_plugin.utils.tensor_files import read_tensors

SILENCE_S = 10  # a download that hears nothing for so long has failed; without it a silent firewall costs minutes


def imagenet_file(url: str) -> Path:
    """Return torchvision's own file of ImageNet weights, downloading it if it is not there.

    Args:
        url: torchvision's address of it.

    Raises:
        MissingWeightsError: It cannot be downloaded.
    """
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    path = folder / url.rsplit("/", 1)[-1]
    if path.is_file():
        return path
    try:
        with _socket_timeout(SILENCE_S):
            torch.hub.load_state_dict_from_url(
                url, model_dir=str(folder), map_location="cpu", progress=False, check_hash=True, weights_only=True
            )
    except (OSError, RuntimeError, http.client.HTTPException) as error:  # no network, no right to write, a wrong hash
        raise MissingWeightsError(
            f"weights 'imagenet': {path.name} is not in {folder} and could not be downloaded ({error}): put "
            "torchvision's file of that name there, or give the path of your copy as weights: PATH"
        ) from error
    return path


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """Bound the silence of a download; torch.hub has no argument for it."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def require_file(path: Path, named: tuple[str, str]) -> None:
    """See that a file is there.

    Args:
        path: Its path.
        named: Words that might have been meant instead.

    Raises:
        TimError: It is not there.
    """
    if not path.is_file():
        near = did_you_mean(str(path), named)
        raise TimError(f"weights '{path}' is neither {named[0]} nor {named[1]} nor a file that is there: {near}")


def feature_state(path: Path) -> dict[str, Tensor]:
    """Return the entries of a state dict's ``features`` part, without that prefix; a classifier is left out.

    Raises:
        TimError: There is no such file, or it holds no state dict.
    """
    state = _read(path)
    if not isinstance(state, Mapping):
        raise TimError(f"weights {path} hold a {type(state).__name__}, not a state dict; give torchvision's state dict")
    return {
        str(key).removeprefix("features."): value
        for key, value in state.items()
        if not str(key).startswith("classifier.")
    }


def _read(path: Path) -> Mapping[str, Tensor]:
    require_file(path, ("imagenet", "random"))
    try:
        return read_tensors(path)
    except Exception as error:  # unpickling fails in many ways
        raise TimError(
            f"weights {path} cannot be read: damaged, or more than a state dict "
            f"({type(error).__name__}); give torchvision's state dict"
        ) from error
