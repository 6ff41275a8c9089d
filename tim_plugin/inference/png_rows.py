"""A PNG written row by row, for images whose bytes need not be in memory at one time (OpenCV encodes whole images)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

import numpy as np
from torch import Tensor

from tim_plugin.utils.images import PNG, replacing, to_pixels
from tim_plugin.utils.resize import resizer_of_rows
from tim_plugin.utils.strips import strips

COLOUR_TYPE = {1: 0, 3: 2, 4: 6}  # by channels: grey, RGB, RGB with alpha
LEFT_NEIGHBOUR = 1  # the filter: each byte less the same channel's byte to its left


def write_png_rows(path: Path, height: int, width: int, channels: int, strips: Iterable[np.ndarray]) -> None:
    """Write an 8-bit PNG of ``height`` x ``width``, whole or not at all. Folders are made.

    Args:
        path: Of the file.
        height: Of the image, in pixels.
        width: Of the image, in pixels.
        channels: 1 (grey), 3 (RGB) or 4 (RGB and alpha).
        strips: The image's bytes (h, width, channels), from top to bottom.

    Raises:
        OSError: It cannot be written; what was there is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # As OpenCV compresses: fast, and good for what the filter leaves of photographs.
    compressor = zlib.compressobj(1, zlib.DEFLATED, 15, 9, zlib.Z_RLE)
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(PNG)
        _write_chunk(file, b"IHDR", struct.pack(">IIBBBBB", width, height, 8, COLOUR_TYPE[channels], 0, 0, 0))
        for strip in strips:
            _write_chunk(file, b"IDAT", compressor.compress(_filtered(strip)))
        _write_chunk(file, b"IDAT", compressor.flush())
        _write_chunk(file, b"IEND", b"")


def write_very_large(path: Path, image: Tensor, alpha: Tensor | None = None) -> None:
    """Write (C, H, W) in [0, 1], which may lie on disk, as an 8-bit PNG; see :func:`write_png_rows`.

    Args:
        path: Of the file.
        image: Grey or RGB.
        alpha: (1, h, w) in [0, 1], enlarged bicubically.
    """
    channels, height, width = image.shape
    alpha_of = None if alpha is None else resizer_of_rows(alpha, (height, width))

    def pixels() -> Iterator[np.ndarray]:
        for rows in strips(image):
            colours = to_pixels(image[:, rows])
            yield colours if alpha_of is None else np.concatenate([colours, to_pixels(alpha_of(rows))], axis=2)

    write_png_rows(path, height, width, channels + (alpha is not None), pixels())


def _write_chunk(file: IO[bytes], kind: bytes, content: bytes) -> None:
    if content or kind == b"IEND":
        file.write(struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content)))


def _filtered(strip: np.ndarray) -> bytes:
    """Return the rows as PNG stores them: one byte that names the filter, then what the filter leaves."""
    height, width, channels = strip.shape
    rows = np.empty((height, 1 + width * channels), np.uint8)
    rows[:, 0] = LEFT_NEIGHBOUR
    left = rows[:, 1:].reshape(height, width, channels)  # a view: only the last axis was split
    left[:, 0] = strip[:, 0]
    np.subtract(strip[:, 1:], strip[:, :-1], out=left[:, 1:])
    return rows.tobytes()
