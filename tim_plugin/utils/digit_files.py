"""Handwritten digits: MNIST's idx files, or the 1,797 digits that scikit-learn's wheel holds; and their PCA basis."""

from __future__ import annotations

import gzip
import zlib
from functools import lru_cache
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tim_plugin.utils.errors import TimError
from tim_plugin.utils.images import opened
from tim_plugin.utils.resize import bicubic_resize

DIGIT_PX, PADDED_PX = 28, 32
_BUNDLED = "sklearn:digits"
_HELD_OUT_EVERY = 7  # the bundled digits have no official split; they come in turns of ten, which 7 does not divide
_MOST_DIGITS = 10_000_000  # the largest set that is known, MNIST8M, has 8.1 million
_IDX_IMAGES = 0x00000803  # unsigned bytes, three dimensions


def is_digits(source: str) -> bool:
    """Tell whether a ``dataroot_gt`` names digits: ``sklearn:digits/train``, or an idx file of images."""
    return source.startswith(_BUNDLED) or source.removesuffix(".gz").endswith(("idx3-ubyte", ".idx3"))


def read_digits(source: str) -> Tensor:
    """Read handwritten digits, white on black.

    Args:
        source: ``sklearn:digits/train`` (1,541 digits) or ``sklearn:digits/test`` (256, of the same
            writers), 8x8 enlarged to 28x28; or the
            path of an idx file of images, gzipped or not, as MNIST's ``train-images-idx3-ubyte.gz``.

    Returns:
        (n, 1, 32, 32) uint8: 28x28, padded with black.

    Raises:
        TimError: There is no such file or split, or it is damaged or holds no 28x28 images.
    """
    images = _bundled(source) if source.startswith(_BUNDLED) else _idx(Path(source).expanduser())
    return F.pad(images[:, None], [(PADDED_PX - DIGIT_PX) // 2] * 4)


@lru_cache(maxsize=2)
def _bundled(source: str) -> Tensor:
    splits = {f"{_BUNDLED}/train": False, f"{_BUNDLED}/test": True}
    if source not in splits:
        raise TimError(f"{source}: there are {' and '.join(splits)}")
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise TimError(f"{source}: scikit-learn is not installed: pip install 'tim_plugin[demo]'") from error
    images = torch.from_numpy(load_digits().images) / 16
    held_out = torch.arange(len(images)) % _HELD_OUT_EVERY == _HELD_OUT_EVERY - 1
    images = images[held_out == splits[source]]  # (n, 8, 8)
    return bicubic_resize(images, (DIGIT_PX, DIGIT_PX)).clamp(0, 1).mul(255).round().byte()


def _idx(path: Path) -> Tensor:
    try:
        with opened(path) as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            return _unpacked(gzip.GzipFile(fileobj=file) if packed else file, path)
    except FileNotFoundError as error:
        raise TimError(f"{path}: there is no such file; give an idx file of images, or {_BUNDLED}/train") from error
    except (OSError, EOFError, zlib.error) as error:
        raise TimError(f"{path}: cannot be read: {error}") from error


def _unpacked(file: IO[bytes], path: Path) -> Tensor:
    """Read what the header announces, and one byte to see that no more is there: a packed file may hold any number."""
    header = file.read(16)
    magic, count, height, width = (int.from_bytes(header[i : i + 4], "big") for i in (0, 4, 8, 12))
    if magic != _IDX_IMAGES or (height, width) != (DIGIT_PX, DIGIT_PX):
        raise TimError(f"{path}: is no idx file of {DIGIT_PX}x{DIGIT_PX} images, such as train-images-idx3-ubyte")
    if count > _MOST_DIGITS:
        raise TimError(f"{path}: announces {count} images, more than the {_MOST_DIGITS} that are read")
    size = count * height * width
    content = file.read(size + 1)
    if len(content) != size:
        raise TimError(f"{path}: is truncated or damaged: {count} images of {height}x{width} are announced")
    return torch.from_numpy(np.frombuffer(content, np.uint8).reshape(count, height, width).copy())


def fit_to_digits(source: str, num_components: int) -> tuple[Tensor, Tensor]:
    """Return mean (1024,) and first principal components (k, 1024) of digits, float32; kept while the file is the same.

    Args:
        source: The digits, as :func:`read_digits` takes them.
        num_components: k.

    Raises:
        TimError: The digits cannot be read, or are too few.
    """
    return _fitted(source, num_components, _state(source))


@lru_cache(maxsize=4)
def _fitted(source: str, num_components: int, state: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    mean, components = principal_components(read_digits(source).flatten(1).double() / 255, num_components)
    return mean.float(), components.float()


def _state(source: str) -> tuple[int, ...]:
    """Return what changes with a file: its bytes and time of change; nothing for what is no file."""
    try:
        status = Path(source).expanduser().stat()
    except (OSError, ValueError):  # which reading it tells of
        return ()
    return (status.st_size, status.st_mtime_ns)


def principal_components(images: Tensor, num_components: int) -> tuple[Tensor, Tensor]:
    """Return mean (D,) and the first principal components (k, D) of images (n, D), in float64.

    Each component's largest entry is positive, so that the basis does not depend on the solver.

    Raises:
        TimError: Fewer images or pixels than components.
    """
    if min(images.shape) <= num_components:
        raise TimError(f"{num_components} principal components need more images and pixels than {tuple(images.shape)}")
    images = images.double()
    mean = images.mean(dim=0)
    centred = images - mean
    _, vectors = torch.linalg.eigh(centred.T @ centred)  # ascending
    components = vectors.T.flip(0)[:num_components]
    largest = components.gather(1, components.abs().argmax(dim=1, keepdim=True))
    return mean, (components * largest.sign()).contiguous()
