"""Preparation of folders of digits: GT and LQ files, as :mod:`tim_plugin.data.prepare_photographs` makes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from tim_plugin.data.prepare_record import read_record, write_record
from tim_plugin.data.sources import Digits
from tim_plugin.data.workers import track
from tim_plugin.degradations.pca import PrincipalComponents
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.folder_lock import locked
from tim_plugin.utils.images import write_png
from tim_plugin.utils.writing import write_atomically

_TOGETHER = 64  # digits that are handed to a worker at once


class _Pair(NamedTuple):
    pixels: np.ndarray  # not a tensor: each would hold a file handle on its way to a worker
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
        output: Made if it does not exist; prepared before from other digits or with another basis, it is refused.
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
    _degradation(basis, num_components)  # says what is wrong with it before anything is written
    settings = {"digits": source, "basis": basis, "num_components": num_components}
    with locked(output, f"-o {output}"):
        return _prepare(digits, output, settings, workers)


def _prepare(digits: Digits, output: Path, settings: Mapping[str, Any], workers: int | None) -> tuple[int, int]:
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
        write = partial(_write_pair, settings["basis"], settings["num_components"])
        track(write, todo, processes, _TOGETHER)
    except OSError as error:
        raise TimError(f"-o {output}: cannot be written: {error}") from error
    return len(todo), len(pairs) - len(todo)


@lru_cache(maxsize=1)
def _degradation(basis: str, num_components: int) -> PrincipalComponents:
    return PrincipalComponents.from_options(basis, num_components)


def _write_pair(basis: str, num_components: int, pair: _Pair) -> None:
    image = torch.from_numpy(pair.pixels).float() / 255  # (1, 32, 32)
    pair.lq.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(pair.lq, _degradation(basis, num_components).encode(image))
    write_png(pair.gt, image)
