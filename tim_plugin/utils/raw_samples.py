"""Samples of image files as they are stored, of 16 bits or floating point: by OpenCV, or as they lie in the file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from tim_plugin.utils.errors import TimError
from tim_plugin.utils.image_headers import Header, largest_of_pnm

_PAM = re.compile(rb"P7\n(.*?)ENDHDR\n", re.DOTALL)
_ASSOCIATED, _UNASSOCIATED, _CORELDRAW = 1, 2, 999  # a TIFF's fourth channel; 0 is none that is known


class Pixels(NamedTuple):
    """``colour`` (H, W, 1 | 3), ``alpha`` (H, W) or None, of one type; which value stands for 1."""

    colour: np.ndarray
    alpha: np.ndarray | None
    top: int


def decoded_raw(header: Header, name: str) -> Pixels:
    """Return the samples of an image, colours and transparency apart.

    Raises:
        TimError: It is damaged, or of a type or layout that would be read wrong.
    """
    if header.kind == "PPM":
        return _pnm(header.content, header.image)
    if header.kind == "PAM":
        return _pam(header.content)
    if header.kind == "TIFF":
        _require_layout(header, name)
    stored = _by_opencv(header.content)
    if stored is None:
        raise damaged(header, name)
    if stored.dtype.kind not in "uf":
        raise TimError(f"{name}: has pixels of type {stored.dtype}; save it with 8 or 16 bits a channel")
    top = int(np.iinfo(stored.dtype).max) if stored.dtype.kind == "u" else 1
    if stored.dtype.itemsize > 2 and top > 1:
        raise TimError(f"{name}: has pixels of type {stored.dtype}; save it with 8 or 16 bits a channel")
    if header.kind == "JPEG2000":
        top = 2**header.bits - 1
    stored = stored[..., None] if stored.ndim == 2 else stored
    if stored.shape[2] > 2:  # BGR
        stored = stored[..., ::-1] if stored.shape[2] == 3 else stored[..., [2, 1, 0, 3]]
    if header.kind == "TIFF":
        return _of_tiff(stored, top, header, name)
    clear = header.image.info.get("transparency") if header.kind == "PNG" else None
    if clear is not None and stored.shape[2] in (1, 3):
        return with_clear(stored, np.asarray(clear), top)
    return split(stored, top)


def _by_opencv(content: bytes) -> np.ndarray | None:
    try:
        with opencv_silenced():
            return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            raise MemoryError from error
        return None


@contextmanager
def opencv_silenced() -> Iterator[None]:
    """Keep OpenCV's own lines from standard error; what they tell is an error of ours."""
    logging = cv2.utils.logging
    before = logging.getLogLevel()
    logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        logging.setLogLevel(before)


def _pnm(content: bytes, image: Image.Image) -> Pixels:
    width, height = image.size
    channels, start = 3 if content[:2] == b"P6" else 1, image.tile[0][2]
    stored = np.frombuffer(content, ">u2", height * width * channels, start).reshape(height, width, channels)
    return Pixels(stored.astype(np.uint16), None, largest_of_pnm(image))


def _pam(content: bytes) -> Pixels:
    """Read what OpenCV gives in the file's order or in its own, depending on how it is asked, and without MAXVAL."""
    head = _PAM.match(content)
    fields = dict(line.split() for line in head[1].splitlines() if line.strip() and not line.startswith(b"#"))
    width, height, depth, top = (int(fields[key]) for key in (b"WIDTH", b"HEIGHT", b"DEPTH", b"MAXVAL"))
    if not (width > 0 and height > 0 and 1 <= depth <= 4 and 1 <= top <= 65535):
        raise ValueError("its header is out of range")
    stored = np.frombuffer(content, ">u2" if top > 255 else "u1", height * width * depth, head.end())
    return split(stored.astype(np.uint16 if top > 255 else np.uint8).reshape(height, width, depth), top)


def _require_layout(header: Header, name: str) -> None:
    """Refuse what OpenCV reads wrong and says nothing."""
    channels, in_planes = header.tags.get(277, 1), header.tags.get(284, 1) != 1
    if channels not in (1, 3, 4) or (in_planes and channels > 1):
        raise TimError(
            f"{name}: has {channels} channels of {header.bits} bits{', in planes' if in_planes else ''}: no layout of "
            "TIFF that is read: save it as PNG"
        )


def _of_tiff(stored: np.ndarray, top: int, header: Header, name: str) -> Pixels:
    channels = header.tags.get(277, 1)
    if (stored.shape[2], 8 * stored.dtype.itemsize) != (channels, header.bits):
        raise damaged(header, name)
    if header.tags.get(262) == 0:  # white is zero
        return Pixels(top - stored, None, top)
    extra = header.tags.get(338, (_UNASSOCIATED,))
    extra = extra[0] if isinstance(extra, tuple) else extra
    if channels != 4 or extra not in (_ASSOCIATED, _UNASSOCIATED, _CORELDRAW):
        return Pixels(stored[..., :3], None, top)
    pixels = split(stored, top)
    return pixels._replace(colour=_unmultiplied(pixels)) if extra == _ASSOCIATED else pixels


def _unmultiplied(pixels: Pixels) -> np.ndarray:
    """Return the colours (H, W, 3) that were multiplied with alpha; black where all is transparent."""
    alpha = pixels.alpha[..., None].astype(np.float64) / pixels.top
    colour = np.divide(pixels.colour, alpha, out=np.zeros(pixels.colour.shape), where=alpha > 0)
    colour = colour if pixels.top == 1 else np.rint(colour)
    return colour.clip(0, pixels.top).astype(pixels.colour.dtype)


def split(stored: np.ndarray, top: int) -> Pixels:
    """Take apart (H, W, 1 | 2 | 3 | 4)."""
    has_alpha = stored.shape[2] in (2, 4)
    return Pixels(stored[..., :-1], stored[..., -1], top) if has_alpha else Pixels(stored, None, top)


def with_clear(colour: np.ndarray, clear: np.ndarray, top: int) -> Pixels:
    """Make one colour transparent, as a PNG's tRNS says."""
    alpha = (colour != clear).any(axis=2)
    return Pixels(colour, alpha.astype(colour.dtype) * colour.dtype.type(top), top)


def damaged(header: Header, name: str) -> TimError:
    """Return the error of a file that no decoder reads."""
    return TimError(f"{name}: cannot be decoded: damaged, or a kind of {header.kind} that is not read")
