"""PNG files written some rows at a time, for images that are too large to be encoded as a whole, as OpenCV would."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

import numpy as np
from torch import Tensor

from tim_plugin.utils.image_headers import PNG
from tim_plugin.utils.images import to_pixels
from tim_plugin.utils.resize import resizer_of_rows
from tim_plugin.utils.strips import strips
from tim_plugin.utils.writing import replacing

COLOUR_TYPE = {1: 0, 3: 2, 4: 6}  # by channels: grey, RGB, RGB with alpha
LEFT_NEIGHBOUR = 1  # the filter: each byte less the same channel's byte to its left


def write_png_rows(path: Path, height: int, width: int, channels: int, parts: Iterable[np.ndarray]) -> None:
    """Write an 8-bit PNG of ``height`` x ``width``, whole or not at all. Folders are made.

    Args:
        path: The file.
        height: Of the image, in pixels.
        width: Of the image, in pixels.
        channels: 1 (grey), 3 (RGB) or 4 (RGB and alpha).
        parts: Some rows of the image each, uint8 (h, width, channels), from top to bottom.

    Raises:
        OSError: It cannot be written; what was there is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # As OpenCV compresses: fast, and good for what the filter leaves of photographs.
    compressor = zlib.compressobj(1, zlib.DEFLATED, 15, 9, zlib.Z_RLE)
    with replacing(path) as file:
        file.write(PNG)
        _write_chunk(file, b"IHDR", struct.pack(">IIBBBBB", width, height, 8, COLOUR_TYPE[channels], 0, 0, 0))
        for rows in parts:
            _write_chunk(file, b"IDAT", compressor.compress(_filtered(rows)))
        _write_chunk(file, b"IDAT", compressor.flush())
        _write_chunk(file, b"IEND", b"")


def write_very_large(path: Path, image: Tensor, alpha: Tensor | None = None) -> None:
    """Write an image that is too large to be encoded at once as an 8-bit PNG, whole or not at all.

    Args:
        path: The file.
        image: (C, H, W) in [0, 1], grey or RGB, in memory or on disk.
        alpha: (1, h, w) in [0, 1], enlarged bicubically; None: there is none.

    Raises:
        OSError: It cannot be written; what was there is untouched.
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


def _filtered(pixels: np.ndarray) -> bytes:
    """Return rows (h, width, channels) as PNG stores them: a byte that names the filter, then the filtered bytes."""
    height, width, channels = pixels.shape
    stored = np.empty((height, 1 + width * channels), np.uint8)
    stored[:, 0] = LEFT_NEIGHBOUR
    left = stored[:, 1:].reshape(height, width, channels)  # a view: only the last axis was split
    left[:, 0] = pixels[:, 0]
    np.subtract(pixels[:, 1:], pixels[:, :-1], out=left[:, 1:])
    return stored.tobytes()
