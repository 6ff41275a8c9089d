"""The one decoder of image files: header, pixels, orientation, transparency, colours as sRGB.

Pillow decodes what has 8 bits a channel: JPEGs to the same bits as OpenCV, which tells damage on standard error too.
It cuts colours of 16 bits to 8 and knows no floating-point ones, so OpenCV gives their raw samples.
"""

from __future__ import annotations

import ctypes
import functools
from contextlib import suppress
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tim_plugin.utils.color_profiles import other_space_to_srgb, to_srgb
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.image_headers import Header, largest_of_pnm, open_lazily, read_header
from tim_plugin.utils.memory import free_bytes
from tim_plugin.utils.notes import say_once
from tim_plugin.utils.raw_samples import Pixels, damaged, decoded_raw, split, with_clear

_FLOAT_BYTES = 4
_COPIES = 2  # of the pixels as floats, beside the file's own samples
_OVERSHOOT = 0.5  # floats may lie outside [0, 1] by so much, as those of resized images do; more is another range
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
        white = _white_of_grey(header)
        _load(image)
        image = _as_stored(image, white)
    except MemoryError as error:
        raise TimError(f"{name}: does not fit into memory") from error
    except Exception as error:  # Pillow's readers raise whatever a damaged file leads them to
        raise damaged(header, name) from error
    _say_frames(header, name)
    return image.transpose(_METHODS[header.orientation]) if _turns(header) else image


def _white_of_grey(header: Header) -> int | None:
    """Return what stands for white in an undecoded PNG, TIFF or PGM of up to 16 bits; None: in another file."""
    if header.kind in ("PNG", "TIFF"):
        return 2**header.bits - 1 if header.bits <= 16 else None
    if header.kind == "PPM":
        arguments = header.image.tile[0][3]
        return arguments[1] if isinstance(arguments, tuple) else largest_of_pnm(header.image)
    return None


def _as_stored(image: Image.Image, white: int | None) -> Image.Image:
    """Undo what Pillow does to grey whose white is not that of 8 or 16 bits: it spreads the values out."""
    full = {"L": 255, "I": 65535}.get(image.mode)
    if full is None or white in (None, full):
        return image
    spread = np.asarray(image)
    return Image.fromarray(np.rint(spread * (white / full)).astype(spread.dtype))


def _require_memory(header: Header, name: str) -> None:
    free = free_bytes()
    needed = header.width * header.height * (4 * max(1, header.bits // 8) + 3 * _COPIES * _FLOAT_BYTES)
    if free is not None and needed > free:
        raise TimError(
            f"{name}: is {header.width}x{header.height}, which takes {needed / 2**30:.2f} GiB of memory, and "
            f"{free / 2**30:.2f} are free: crop or shrink it"
        )


def _decoded(header: Header, name: str) -> Pixels:
    _say_frames(header, name)
    try:
        pixels = (_decoded_by_pillow if _is_for_pillow(header) else decoded_raw)(header, name)
    except (TimError, MemoryError):
        raise
    except Exception as error:  # Pillow's readers raise whatever a damaged file leads them to
        raise damaged(header, name) from error
    return _turned(pixels, header.orientation) if _turns(header) else pixels


def _say_frames(header: Header, name: str) -> None:
    if header.has_frames:
        say_once((name, "frames"), f"{name}: has several frames: the first is taken")


def _turns(header: Header) -> bool:
    """Tell whether pixels are to be turned: the decoders of TIFF have done it."""
    return header.orientation in _TURNS and header.kind != "TIFF"


def _is_for_pillow(header: Header) -> bool:
    return header.image is not None and (header.bits <= 8 or header.kind not in ("PNG", "JPEG2000", "PPM"))


def _turned(pixels: Pixels, orientation: int) -> Pixels:
    transposes, flips = _TURNS[orientation]

    def turn(plane: np.ndarray) -> np.ndarray:
        return np.flip(plane.swapaxes(0, 1) if transposes else plane, flips)

    return pixels._replace(colour=turn(pixels.colour), alpha=None if pixels.alpha is None else turn(pixels.alpha))


def _load(image: Image.Image) -> None:
    if image.format == "TIFF":
        _silence_libtiff()
    image.load()


@functools.cache
def _silence_libtiff() -> None:
    """Keep the lines of Pillow's libtiff from standard error; what they tell is an error of ours.

    Pillow silences its warnings alone. Where it has libtiff within itself, as on Windows, the lines stay.
    """
    with suppress(AttributeError, OSError):
        set_handler = ctypes.CDLL(Image.core.__file__).TIFFSetErrorHandler
        set_handler.argtypes, set_handler.restype = [ctypes.c_void_p], ctypes.c_void_p
        set_handler(None)


# 8 bits a channel -----------------------------------------------------------------------------------------------------


def _decoded_by_pillow(header: Header, name: str) -> Pixels:
    image = header.image
    _load(image)
    clear = image.info.get("transparency")
    if header.kind == "PNG" and image.mode in ("1", "L", "RGB") and clear is not None:
        stored = np.asarray(image.convert("L") if image.mode == "1" else image)
        step = 255 // (2**header.bits - 1) if image.mode == "L" else 1  # grey of few bits was spread out by Pillow
        return with_clear(stored.reshape(*stored.shape[:2], -1), np.multiply(clear, step), 255)
    if image.mode in _OTHER_SPACES:
        return Pixels(other_space_to_srgb(image, name), None, 255)
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
    return split(stored, 255)


# to tensors -----------------------------------------------------------------------------------------------------------


def _profile(header: Header) -> bytes | None:
    if header.image is None:
        profile = header.tags.get(34675)
        return profile if isinstance(profile, bytes) else None
    return None if header.image.mode in _OTHER_SPACES else header.image.info.get("icc_profile")


def _to_unit(stored: np.ndarray, top: int, name: str) -> Tensor:
    """(H, W, C) or (H, W) of any depth to (C, H, W) float32 in [0, 1]."""
    planes = stored[None] if stored.ndim == 2 else stored.transpose(2, 0, 1)
    planes = np.ascontiguousarray(planes).astype(np.float32)  # in one step it takes ten times as long
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
