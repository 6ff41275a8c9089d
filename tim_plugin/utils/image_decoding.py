"""The one decoder of image files: header, pixels, orientation, transparency, colours as sRGB.

Pillow decodes what has 8 bits a channel. It cuts colours of 16 bits to 8 and knows no floating-point ones, so OpenCV
gives their raw samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tim_plugin.utils.color_profiles import other_space_to_srgb, to_srgb
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.image_headers import Header, largest_of_pnm, open_lazily, read_header
from tim_plugin.utils.memory import free_bytes
from tim_plugin.utils.notes import say_once

_FLOAT_BYTES = 4
_COPIES = 2  # of the pixels as floats, beside the file's own samples
_OVERSHOOT = 0.5  # floats may lie outside [0, 1] by so much, as those of resized images do; more is another range
_ASSOCIATED, _UNASSOCIATED, _CORELDRAW = 1, 2, 999  # a TIFF's fourth channel; 0 is none that is known
_GREY_WITH_ALPHA = ("LA", "La")
_COLOUR_WITH_ALPHA = ("RGBA", "RGBa", "PA")
_OTHER_SPACES = ("CMYK", "LAB")
# By EXIF's orientation: whether rows and columns change places, and then what is turned over.
_TURNS = {
    2: (False, 1),
    3: (False, (0, 1)),
    4: (False, 0),
    5: (True, ()),
    6: (True, 1),
    7: (True, (0, 1)),
    8: (True, 0),
}
_METHODS = dict(zip(_TURNS, (0, 3, 1, 5, 4, 6, 2), strict=True))  # Pillow's numbers of the same


class LoadedImage(NamedTuple):
    """``rgb`` (3, H, W) float32 in [0, 1], and ``alpha`` (1, H, W) where the file has one."""

    rgb: Tensor
    alpha: Tensor | None


class _Pixels(NamedTuple):
    """``colour`` (H, W, 1 | 3), ``alpha`` (H, W) or None, of one type; which value stands for 1."""

    colour: np.ndarray
    alpha: np.ndarray | None
    top: int


def decode_image(content: bytes, name: str, keep_profile: bool = False) -> LoadedImage:
    """Decode the bytes of an image file (8 or 16 bit, float, grey or colour, palette, with or without alpha).

    It is turned as its EXIF orientation says, transparency is read from alpha, palette or the transparent colour, and
    colours are converted to sRGB. Of several frames the first is taken. What is not obvious is said once.

    Args:
        content: The file's bytes, for example from an lmdb.
        name: What the file is called in errors.
        keep_profile: Leave RGB and grey as they are stored, whatever their colour profile.

    Raises:
        TimError: The content is empty, truncated, damaged, no image, too large, or has values that are not finite.
    """
    try:
        header = read_header(content, name)
        _require_memory(header, name)
        pixels = _decoded(header, name)
        if not keep_profile:
            pixels = pixels._replace(colour=to_srgb(pixels.colour, pixels.top, _profile(header), name))
        colour, alpha = (None if part is None else _to_unit(part, pixels.top, name) for part in pixels[:2])
    except MemoryError as error:
        raise TimError(f"{name}: does not fit into memory") from error
    return LoadedImage(colour.repeat(3, 1, 1) if len(colour) == 1 else colour, alpha)


def stored_image(content: bytes, name: str) -> Image.Image:
    """Return an image file as Pillow decodes it, its values as they are stored (those of a label map), but upright.

    Raises:
        TimError: As :func:`decode_image`.
    """
    header = read_header(content, name)
    _require_memory(header, name)
    try:
        image = open_lazily(header.content, header.kind) if header.image is None else header.image
        image.load()
    except MemoryError as error:
        raise TimError(f"{name}: does not fit into memory") from error
    except Exception as error:  # Pillow's readers raise whatever a damaged file leads them to
        raise _damaged(header, name) from error
    _say_frames(header, name)
    return image.transpose(_METHODS[header.orientation]) if _turns(header) else image


def _require_memory(header: Header, name: str) -> None:
    free = free_bytes()
    needed = header.width * header.height * (4 * max(1, header.bits // 8) + 3 * _COPIES * _FLOAT_BYTES)
    if free is not None and needed > free:
        raise TimError(
            f"{name}: is {header.width}x{header.height}, which takes {needed / 2**30:.2f} GiB of memory, and "
            f"{free / 2**30:.2f} are free: crop or shrink it"
        )


def _decoded(header: Header, name: str) -> _Pixels:
    _say_frames(header, name)
    try:
        pixels = (_decoded_by_pillow if _is_for_pillow(header) else _decoded_raw)(header, name)
    except (TimError, MemoryError):
        raise
    except Exception as error:  # Pillow's readers raise whatever a damaged file leads them to
        raise _damaged(header, name) from error
    return _turned(pixels, header.orientation) if _turns(header) else pixels


def _say_frames(header: Header, name: str) -> None:
    if header.has_frames:
        say_once((name, "frames"), f"{name}: has several frames: the first is taken")


def _damaged(header: Header, name: str) -> TimError:
    return TimError(f"{name}: cannot be decoded: damaged, or a kind of {header.kind} that is not read")


def _turns(header: Header) -> bool:
    """Tell whether pixels are to be turned: the decoders of TIFF have done it."""
    return header.orientation in _TURNS and header.kind != "TIFF"


def _is_for_pillow(header: Header) -> bool:
    return header.image is not None and (header.bits <= 8 or header.kind not in ("PNG", "JPEG2000", "PPM"))


def _turned(pixels: _Pixels, orientation: int) -> _Pixels:
    transposes, flips = _TURNS[orientation]

    def turn(plane: np.ndarray) -> np.ndarray:
        return np.flip(plane.swapaxes(0, 1) if transposes else plane, flips)

    return pixels._replace(colour=turn(pixels.colour), alpha=None if pixels.alpha is None else turn(pixels.alpha))


# 8 bits a channel -----------------------------------------------------------------------------------------------------


def _decoded_by_pillow(header: Header, name: str) -> _Pixels:
    image = header.image
    image.load()
    clear = image.info.get("transparency")
    if header.kind == "PNG" and image.mode in ("1", "L", "RGB") and clear is not None:
        stored = np.asarray(image.convert("L") if image.mode == "1" else image)
        step = 255 // (2**header.bits - 1) if image.mode == "L" else 1  # grey of few bits was spread out by Pillow
        return _with_clear(stored.reshape(*stored.shape[:2], -1), np.multiply(clear, step), 255)
    if image.mode in _OTHER_SPACES:
        return _Pixels(other_space_to_srgb(image, name), None, 255)
    if image.mode in _GREY_WITH_ALPHA:
        mode = "LA"
    elif image.mode in _COLOUR_WITH_ALPHA or (clear is not None and image.mode in ("P", "RGB", "L")):
        mode = "RGBA"
    else:
        mode = "L" if image.mode in ("1", "L") else "RGB"
    if image.mode not in ("1", "L", "P", "RGB", "YCbCr", "HSV", "RGBX", *_GREY_WITH_ALPHA, *_COLOUR_WITH_ALPHA):
        raise TimError(f"{name}: has pixels of Pillow's mode {image.mode}; save it with 8 or 16 bits a channel")
    stored = np.asarray(image if image.mode == mode else image.convert(mode))
    stored = stored[..., None] if stored.ndim == 2 else stored
    return _split(stored, 255)


def _split(stored: np.ndarray, top: int) -> _Pixels:
    """Take apart (H, W, 1 | 2 | 3 | 4)."""
    has_alpha = stored.shape[2] in (2, 4)
    return _Pixels(stored[..., :-1], stored[..., -1], top) if has_alpha else _Pixels(stored, None, top)


def _with_clear(colour: np.ndarray, clear: np.ndarray, top: int) -> _Pixels:
    """Make one colour transparent, as a PNG's tRNS says."""
    alpha = (colour != clear).any(axis=2)
    return _Pixels(colour, alpha.astype(colour.dtype) * colour.dtype.type(top), top)


# raw samples ----------------------------------------------------------------------------------------------------------


def _decoded_raw(header: Header, name: str) -> _Pixels:
    if header.kind == "PPM":
        return _pnm(header.content, header.image)
    if header.kind == "TIFF":
        _require_layout(header, name)
    with opencv_silenced():
        stored = _by_opencv(header.content)
    if stored is None:
        raise _damaged(header, name)
    if stored.dtype.kind not in "uf":
        raise TimError(f"{name}: has pixels of type {stored.dtype}; save it with 8 or 16 bits a channel")
    top = int(np.iinfo(stored.dtype).max) if stored.dtype.kind == "u" else 1
    if stored.dtype.itemsize > 2 and top > 1:
        raise TimError(f"{name}: has pixels of type {stored.dtype}; save it with 8 or 16 bits a channel")
    stored = stored[..., None] if stored.ndim == 2 else stored
    stored = stored[..., {1: [0], 2: [0, 1], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[stored.shape[2]]]
    if header.kind == "TIFF":
        return _of_tiff(stored, top, header, name)
    clear = header.image.info.get("transparency") if header.kind == "PNG" else None
    if clear is not None and stored.shape[2] in (1, 3):
        return _with_clear(stored, np.asarray(clear), top)
    return _split(stored, top)


def _by_opencv(content: bytes) -> np.ndarray | None:
    try:
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


def _pnm(content: bytes, image: Image.Image) -> _Pixels:
    width, height = image.size
    channels, start = 3 if content[:2] == b"P6" else 1, image.tile[0][2]
    stored = np.frombuffer(content, ">u2", height * width * channels, start).reshape(height, width, channels)
    return _Pixels(stored.astype(np.uint16), None, largest_of_pnm(image))


def _require_layout(header: Header, name: str) -> None:
    """Refuse what OpenCV reads wrong and says nothing."""
    channels, in_planes = header.tags.get(277, 1), header.tags.get(284, 1) != 1
    if channels not in (1, 3, 4) or (in_planes and channels > 1):
        raise TimError(
            f"{name}: has {channels} channels of {header.bits} bits{', in planes' if in_planes else ''}: no layout of "
            "TIFF that is read: save it as PNG"
        )


def _of_tiff(stored: np.ndarray, top: int, header: Header, name: str) -> _Pixels:
    channels = header.tags.get(277, 1)
    if (stored.shape[2], 8 * stored.dtype.itemsize) != (channels, header.bits):
        raise _damaged(header, name)
    if header.tags.get(262) == 0:  # white is zero
        return _Pixels(top - stored, None, top)
    extra = header.tags.get(338, (_UNASSOCIATED,))
    extra = extra[0] if isinstance(extra, tuple) else extra
    if channels != 4 or extra not in (_ASSOCIATED, _UNASSOCIATED, _CORELDRAW):
        return _Pixels(stored[..., :3], None, top)
    pixels = _split(stored, top)
    return pixels._replace(colour=_unmultiplied(pixels)) if extra == _ASSOCIATED else pixels


def _unmultiplied(pixels: _Pixels) -> np.ndarray:
    """Return the colours (H, W, 3) that were multiplied with alpha; black where all is transparent."""
    alpha = pixels.alpha[..., None].astype(np.float64) / pixels.top
    colour = np.divide(pixels.colour, alpha, out=np.zeros(pixels.colour.shape), where=alpha > 0)
    colour = colour if pixels.top == 1 else np.rint(colour)
    return colour.clip(0, pixels.top).astype(pixels.colour.dtype)


# to tensors -----------------------------------------------------------------------------------------------------------


def _profile(header: Header) -> bytes | None:
    if header.image is None:
        profile = header.tags.get(34675)
        return profile if isinstance(profile, bytes) else None
    return None if header.image.mode in _OTHER_SPACES else header.image.info.get("icc_profile")


def _to_unit(stored: np.ndarray, top: int, name: str) -> Tensor:
    """(H, W, C) or (H, W) of any depth to (C, H, W) float32 in [0, 1]."""
    planes = stored[None] if stored.ndim == 2 else stored.transpose(2, 0, 1)
    planes = np.ascontiguousarray(planes, dtype=np.float32)
    if stored.dtype.kind == "f":
        _require_range(planes, name)
    if top != 1:
        planes /= top
    return torch.from_numpy(planes)


def _require_range(values: np.ndarray, name: str) -> None:
    lowest, highest = float(values.min()), float(values.max())  # NaN where there is one
    if not np.isfinite([lowest, highest]).all():
        raise TimError(f"{name}: holds values that are NaN or infinite: an image's lie in [0, 1]")
    if lowest < -_OVERSHOOT or highest > 1 + _OVERSHOOT:
        raise TimError(
            f"{name}: its values lie in [{lowest:.4g}, {highest:.4g}], those of floats in [0, 1]: divide them by what "
            "stands for white"
        )
