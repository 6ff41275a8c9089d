"""Files of tensors, ``.pth`` and ``.safetensors``: read without running what they hold, large ones without a copy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile, is_zipfile

import torch
from safetensors.torch import load_file
from torch import Tensor

from tim_plugin.utils.weight_headers import SUFFIX

SHOWN_KEYS = 5  # of a file, in an error
LARGE_BYTES = 2**28  # from here on a second copy of a network's weights is not made


def read_tensors(path: Path | str) -> Any:
    """Return what a file holds, on the CPU: a safetensors file's tensors by name, else what ``torch.save`` was given.

    A large file is mapped: its tensors are read when they are used, and what is read of them can be freed again.

    Raises:
        Exception: Of many kinds, where the file is damaged or holds more than tensors and plain values.
    """
    is_mapped = mapped_bytes(path) > 0
    if Path(path).suffix == SUFFIX:
        tensors = load_file(path)  # mapped, and not aligned as torch's own, by which convolutions round
        return tensors if is_mapped else {key: value.clone() for key, value in tensors.items()}
    return load_intact(path, is_mapped)


def differences(expected: Mapping[str, Sequence[int]], found: Mapping[str, Sequence[int]]) -> list[str]:
    """Return a line for each key whose shape is another, that is missing or that is unknown, in this order.

    Args:
        expected: Shapes, by key.
        found: Likewise.
    """
    # Batch norm's counter of batches is no weight, and files from before PyTorch 0.4.1 have none.
    counter = "num_batches_tracked"
    shapes = [
        f"{key} is {tuple(found[key])} instead of {tuple(shape)}"
        for key, shape in expected.items()
        if key in found and tuple(found[key]) != tuple(shape)
    ]
    missing = [f"{key} is missing" for key in expected if key not in found and not key.endswith(counter)]
    return shapes + missing + [f"{key} is unknown" for key in found if key not in expected]


def first_of(lines: Sequence[str]) -> str:
    """Return the first few of :func:`differences`, and how many more there are."""
    more = len(lines) - SHOWN_KEYS
    return "; ".join(lines[:SHOWN_KEYS]) + (f"; and {more} more" if more > 0 else "")


def shapes_of(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor of a state dict."""
    return {key: tuple(value.shape) for key, value in state.items()}


def mapped_bytes(path: Path | str) -> int:
    """Return the size of a file that :func:`read_tensors` maps, whose tensors take memory once they are used; else 0.

    What torch wrote before 1.6 cannot be mapped.
    """
    path = Path(path)
    size = path.stat().st_size
    return size if size >= LARGE_BYTES and (path.suffix == SUFFIX or is_zipfile(path)) else 0


def load_intact(path: Path | str, mapped: bool = False) -> Any:
    """Load what :func:`torch.save` wrote, if it is as it was written: torch itself compares no checksum.

    Args:
        path: Of the file.
        mapped: Whether tensors are read when they are used.
    """
    if is_zipfile(path):  # not what torch before 1.6 wrote, which has no checksums
        with ZipFile(path) as records:
            damaged = records.testzip()
        if damaged is not None:
            raise BadZipFile(f"{damaged}: wrong checksum")
    return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
