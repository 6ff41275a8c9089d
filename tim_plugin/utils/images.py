"""Image files: found in folders, read as RGB tensors in [0, 1], written whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO

import cv2
import numpy as np
import torch
from torch import Tensor

from tim_plugin.utils.errors import TimError
from tim_plugin.utils.image_decoding import LoadedImage, decode_image
from tim_plugin.utils.image_headers import SNIFFED_BYTES, format_of, is_video_start
from tim_plugin.utils.notes import say_once
from tim_plugin.utils.writing import write_atomically

_IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")


def list_images(path: Path | str) -> list[Path]:
    """Return the image itself, or a folder's images (without subfolders), sorted by name; say what is left out.

    Raises:
        TimError: There is no such path, or no image in the folder.
    """
    path = Path(path).expanduser()
    if path.is_file():
        return [path]
    if not path.is_dir():
        is_there = "is no regular file, but a named pipe or a device" if path.exists() else "there is no such"
        raise TimError(f"{path}: {is_there}{'' if path.exists() else ' image or folder'}")
    return images_of(path, path.iterdir())


def images_of(folder: Path, paths: Iterable[Path], say: bool = True) -> list[Path]:
    """Return those paths that are images, sorted, and say once for a folder what is left out, and why.

    Raises:
        TimError: None is an image.
    """
    images: list[Path] = []
    left_out: dict[str, list[str]] = {}
    for path in sorted(paths):
        reason = why_no_image(path)
        if reason is None:
            images.append(path)
        elif not path.name.startswith("."):
            left_out.setdefault(reason, []).append(path.name)
    named = "; ".join(f"{_few(names)} ({reason})" for reason, names in left_out.items())
    if not images:
        raise TimError(f"{folder}: holds no image" + (f"; left out: {named}" if named else ""))
    if named and say:
        say_once((folder, "left out"), f"{folder}: left out: {named}")
    return images


def _few(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def is_image(path: Path) -> bool:
    """Tell whether a path is an image, see :func:`why_no_image`."""
    return why_no_image(path) is None


def why_no_image(path: Path) -> str | None:
    """Return why a path is no image; None: it is one, by its suffix or, with another suffix, by its first bytes."""
    if path.name.startswith("."):
        return "hidden"
    if path.is_dir():
        return "a folder, whose files are not read"
    if path.suffix.lower() in _IMAGE_SUFFIXES:
        return None  # if it is damaged, that is an error of this file
    start = first_bytes(path)
    kind = format_of(start)
    if kind is not None and kind != "TIFF":  # so begin the raw files of cameras, of which a preview would be read
        return None
    return "a video: give it by itself" if is_video_start(start) else "no image that is read"


def first_bytes(path: Path) -> bytes:
    """Return what tells a file's format; nothing of what cannot be read or is no regular file."""
    try:
        with opened(path) as file:
            return file.read(SNIFFED_BYTES)
    except OSError:
        return b""


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
        with opened(Path(path)) as file:
            return file.read()
    except OSError as error:
        raise TimError(f"{path}: cannot be read: {error.strerror or error}") from error
    except MemoryError as error:
        raise TimError(f"{path}: does not fit into memory") from error


def opened(path: Path) -> IO[bytes]:
    """Open a regular file for reading; a named pipe, whose reader would wait for ever, is refused.

    Raises:
        OSError: It cannot be opened, or is no regular file.
    """
    file = os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)), "rb")
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    file.close()
    raise OSError(errno.EINVAL, "is no regular file, but a folder, a named pipe or a device")


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
