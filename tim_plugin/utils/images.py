"""Image files: any that OpenCV reads, as RGB tensors in [0, 1]; files written whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from tim_plugin.utils.errors import TimError

_IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"  # what the files begin with


class LoadedImage(NamedTuple):
    """``rgb`` (3, H, W) float32 in [0, 1], and ``alpha`` (1, H, W) where the file has one."""

    rgb: Tensor
    alpha: Tensor | None


def list_images(path: Path | str) -> list[Path]:
    """Return the image itself, or a folder's images (by suffix, without subfolders), sorted by name.

    Raises:
        TimError: There is no such path, or no image in the folder.
    """
    path = Path(path).expanduser()
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise TimError(f"{path}: there is no such image or folder")
    files = sorted(file for file in path.iterdir() if is_image(file) and not file.is_dir())
    if not files:
        raise TimError(f"{path}: holds no image ({', '.join(_IMAGE_SUFFIXES)})")
    return files


def is_image(path: Path) -> bool:
    """Tell by its suffix whether a path is an image; hidden files are none."""
    return path.suffix.lower() in _IMAGE_SUFFIXES and not path.name.startswith(".")


def read_image(path: Path | str) -> LoadedImage:
    """Read a file: 8 or 16 bit, grey or colour, palette, with or without alpha; EXIF rotation is applied.

    Raises:
        TimError: The file cannot be read, is empty, damaged, or no image; it is named.
    """
    return decode_image(read_bytes(path), str(path))


def read_bytes(path: Path | str) -> bytes:
    """Return a file's content, and on failure name the file.

    Raises:
        TimError: It cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise TimError(f"{path}: cannot be read: {error.strerror}") from error


def decode_image(content: bytes, name: str) -> LoadedImage:
    """Decode the bytes of an image file (8 or 16 bit, grey or colour, palette, with or without alpha).

    Args:
        content: The file's bytes, for example from an lmdb.
        name: What the file is called in errors.

    Raises:
        TimError: The content is empty, truncated, damaged, or no image.
    """
    require_whole(content, name)
    try:
        colour, alpha = _decode(content)
    except cv2.error:
        colour = alpha = None
    if colour is None:
        raise TimError(f"{name}: cannot be decoded: damaged, or no image")
    return LoadedImage(_to_unit(colour[..., ::-1], name), None if alpha is None else _to_unit(alpha, name))


def require_whole(content: bytes, name: str) -> None:
    """Raise TimError for the content of an image file that is empty, or a PNG or JPEG that ends too early."""
    if not content:
        raise TimError(f"{name}: is an empty file")
    if _is_truncated(content):
        raise TimError(f"{name}: is truncated (the file ends before the image does)")


def _decode(content: bytes) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Return BGR (H, W, 3) or None, and alpha (H, W, 1) where there is one."""
    buffer = np.frombuffer(content, np.uint8)
    # This mode applies EXIF rotation and makes grey and palette images BGR, but drops alpha.
    colour = cv2.imdecode(buffer, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    if colour is None or content.startswith(JPEG):
        return colour, None
    stored = cv2.imdecode(buffer, cv2.IMREAD_UNCHANGED)
    has_alpha = stored is not None and stored.ndim == 3 and stored.shape[2] == 4
    return colour, stored[..., 3:] if has_alpha and stored.shape[:2] == colour.shape[:2] else None


def _is_truncated(content: bytes) -> bool:
    """OpenCV fills what is missing with grey and says nothing; the end marks of PNG and JPEG tell."""
    if content.startswith(PNG):
        return not _reaches_png_end(content)
    if content.startswith(JPEG):
        # Behind the headers, which may hold a thumbnail; a phone may have put a video behind the image.
        return content.find(b"\xff\xd9", _jpeg_scan_start(content)) < 0
    return False


def _reaches_png_end(content: bytes) -> bool:
    position = len(PNG)
    while position + 12 <= len(content):  # a chunk: length, type, data, checksum
        length, kind = int.from_bytes(content[position : position + 4], "big"), content[position + 4 : position + 8]
        if kind == b"IEND":
            return True
        position += 12 + length
    return False


def _jpeg_scan_start(content: bytes) -> int:
    position = 2
    while content[position : position + 1] == b"\xff" and content[position : position + 2] != b"\xff\xda":
        position += 2 + int.from_bytes(content[position + 2 : position + 4], "big")
    return position


def _to_unit(image: np.ndarray, name: str) -> Tensor:
    """(H, W, C) of any depth to (C, H, W) float32 in [0, 1]."""
    if image.dtype == np.uint8:
        top = 255
    elif image.dtype == np.uint16:
        top = 65535
    elif image.dtype.kind == "f":
        top = 1
    else:
        raise TimError(f"{name}: has pixels of type {image.dtype}; save it with 8 or 16 bits a channel")
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)).astype(np.float32) / top)


def round_to_8_bit(images: Tensor) -> Tensor:
    """Return what an 8-bit file would hold of images of any shape: clipped to [0, 1], in steps of 1/255."""
    return images.clamp(0, 1).mul_(255).round_().div_(255)  # in place behind the first: one copy, not four


def write_png(path: Path | str, image: Tensor) -> None:
    """Write (1 | 3 | 4, H, W) in [0, 1] as an 8-bit PNG: clipped, rounded; whole or not at all. Folders are made.

    Raises:
        OSError: It cannot be written.
    """
    write_pixels(path, to_pixels(image))


def write_pixels(path: Path | str, pixels: np.ndarray, suffix: str = ".png", options: Sequence[int] = ()) -> None:
    """Write bytes (H, W, 1 | 3 | 4; RGB order) as an image file, whole or not at all; folders are made.

    Args:
        path: Of the file.
        pixels: uint8.
        suffix: Names the format.
        options: OpenCV's, such as a JPEG's quality.

    Raises:
        OSError: It cannot be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, encode_pixels(pixels, suffix, options))


def write_jpeg(path: Path, image: Tensor) -> None:
    """Write (1 | 3, H, W) in [0, 1] as a JPEG of quality 90, for pictures in documents; folders are made.

    Raises:
        OSError: It cannot be written.
    """
    write_pixels(path, to_pixels(image), ".jpg", (cv2.IMWRITE_JPEG_QUALITY, 90))


def encode_png(image: Tensor) -> bytes:
    """Return the 8-bit PNG of (1 | 3 | 4, H, W) in [0, 1], clipped and rounded."""
    return encode_pixels(to_pixels(image))


def to_pixels(image: Tensor) -> np.ndarray:
    """Return the bytes (H, W, C) of (C, H, W) in [0, 1], clipped and rounded; plane by plane, to save memory."""
    planes = [(round_to_8_bit(plane.detach().cpu().float()) * 255).round().byte() for plane in image]
    return torch.stack(planes, dim=-1).numpy()


def encode_pixels(pixels: np.ndarray, suffix: str = ".png", options: Sequence[int] = ()) -> bytes:
    """Return the content of an image file of bytes (H, W, 1 | 3 | 4; RGB order).

    Args:
        pixels: uint8.
        suffix: Names the format.
        options: OpenCV's, such as a JPEG's quality.

    Raises:
        OSError: OpenCV cannot encode it.
    """
    order = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[pixels.shape[2]]
    encoded, content = cv2.imencode(suffix, np.ascontiguousarray(pixels[..., order]), list(options))
    if not encoded:
        raise OSError("OpenCV could not encode the image")
    return content.tobytes()


def make_writable(folder: Path) -> None:
    """Make a folder and check that files can be written to it, so that hours of computing are not lost at their end.

    Raises:
        OSError: It cannot be made or written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=folder).close()


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        OSError: It cannot be written; what was there is untouched.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``, which is renamed to ``path`` at the end, or removed after an error."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file whole or not at all; folders are made.

    Raises:
        OSError: It cannot be written; what was there is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, (json.dumps(content, indent=2) + "\n").encode())
