"""Preparation of folders of digits: GT and LQ files, as :mod:`tim_plugin.data.prepare_photographs` makes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tim_plugin.data.prepare_record import read_record, write_record
from tim_plugin.data.sources import Digits
from tim_plugin.data.workers import track
from tim_plugin.degradations.pca import PrincipalComponents, is_checkpoint
from tim_plugin.utils.digit_files import read_digits
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.folder_lock import locked
from tim_plugin.utils.images import write_png
from tim_plugin.utils.writing import write_atomically

_TOGETHER = 64  # digits that are handed to a worker at once
_DIGEST_LETTERS = 16  # of a SHA-256: 64 bits, short enough for an error


class _Basis(NamedTuple):
    mean: np.ndarray  # not tensors: each would hold a file handle on its way to a worker
    components: np.ndarray


class _Pair(NamedTuple):
    pixels: np.ndarray
    gt: Path
    lq: Path


def prepare_digits(
    source: str, output: Path, basis: str, num_components: int = 10, workers: int | None = None
) -> tuple[int, int]:
    """Write ``output/gt/NAME.png`` and ``output/lq/NAME.png``, with a progress bar; what is there already stays.

    An LQ file holds the 8-bit image nearest to the reconstruction that has its coordinates, to 0.1 %; a dataset that
    degrades on the fly has the reconstruction itself.

    Args:
        source: The digits, as :func:`tim_plugin.utils.digit_files.read_digits` takes them.
        output: Made if it does not exist; prepared before from other digits or with another basis, by what the files
            hold, it is refused.
        basis: The digits whose principal components are used: the training digits.
        num_components: How many.
        workers: Processes; None takes one for each core.

    Returns:
        How many pairs were made, and how many were there.

    Raises:
        TimError: The digits cannot be read, the files cannot be written, or another process writes there.
    """
    if workers is not None and workers < 1:
        raise TimError(f"--workers {workers}: must be 1 or more")
    digits = Digits(source)
    degradation = PrincipalComponents.from_options(basis, num_components)
    settings = {
        "digits": digits.name,  # of which the pairs' names are made; a file may be given by several paths
        "digits_sha256": _sha256(digits.digits),
        # Not of the components where these are computed: their last bits differ from machine to machine.
        "basis_sha256": _sha256(degradation.mean, degradation.components)
        if is_checkpoint(basis)
        else _sha256(read_digits(basis)),
        "num_components": num_components,
    }
    with locked(output, f"-o {output}"):
        return _prepare(digits, degradation, output, settings, workers)


def _sha256(*tensors: Tensor) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.contiguous().numpy())
    return digest.hexdigest()[:_DIGEST_LETTERS]


def _prepare(
    digits: Digits,
    degradation: PrincipalComponents,
    output: Path,
    settings: Mapping[str, Any],
    workers: int | None,
) -> tuple[int, int]:
    """Write the pairs that are missing; return how many these were, and how many were there."""
    read_record(output, settings)
    pairs = [
        _Pair(pixels.numpy(), output / "gt" / f"{name}.png", output / "lq" / f"{name}.png")
        for pixels, name in zip(digits.digits, digits.names, strict=True)
    ]
    try:
        write_record(output, settings, {})
        todo = [pair for pair in pairs if not (pair.gt.exists() and pair.lq.exists())]
        processes = (workers or os.cpu_count() or 1) if len(todo) > _TOGETHER else 1
        basis = _Basis(degradation.mean.numpy(), degradation.components.numpy())
        track(partial(_write_pair, basis), todo, processes, _TOGETHER)
    except OSError as error:
        raise TimError(f"-o {output}: cannot be written: {error}") from error
    return len(todo), len(pairs) - len(todo)


def _write_pair(basis: _Basis, pair: _Pair) -> None:
    degradation = PrincipalComponents(*map(torch.from_numpy, basis))
    image = torch.from_numpy(pair.pixels).float() / 255  # (1, 32, 32)
    pair.lq.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(pair.lq, degradation.encode(image))
    write_png(pair.gt, image)
