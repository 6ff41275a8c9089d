"""Colours of image files brought to sRGB by their ICC profile, which is then left out: samples are sRGB."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

from tim_plugin.utils.notes import say_once

_SPACES = {"RGB": "RGB", "L": "GRAY", "CMYK": "CMYK", "LAB": "Lab"}  # of an image and of its profile
_SAME = 1  # of 255: a profile that moves no colour of the ramps by more is sRGB
_ROWS_AT_ONCE = 256
_SRGB_EXPONENT = 1 / 2.4
Curve = Callable[[np.ndarray], np.ndarray]


def to_srgb(colour: np.ndarray, top: int, profile: bytes | None, name: str) -> np.ndarray:
    """Return colours (H, W, 1 | 3) in sRGB, of the same type: the array itself where there is no other profile.

    Args:
        colour: uint8, uint16 or floats.
        top: The value that stands for 1.
        profile: ICC; None: there is none.
        name: Of the file, for the note that is said once for each profile.
    """
    if profile is None:
        return colour
    is_grey = colour.shape[2] == 1
    transform = _transform(profile, "L" if is_grey and _space(profile) == "GRAY" else "RGB")
    if transform is None:
        _say_unusable(profile, name)
        return colour
    try:
        return colour if _is_srgb(profile, transform) else _converted(colour, top, profile, transform, name)
    except (ImageCms.PyCMSError, ValueError):
        _say_unusable(profile, name)
        return colour


def _converted(
    colour: np.ndarray, top: int, profile: bytes, transform: ImageCms.ImageCmsTransform, name: str
) -> np.ndarray:
    is_grey = colour.shape[2] == 1
    _say_converted(profile, name)
    shaper = None if colour.dtype == np.uint8 else _matrix_shaper(profile)
    if shaper is not None:
        of_colours = is_grey and len(shaper[0]) == 3
        return _shaped(colour.repeat(3, axis=2), top, shaper)[..., 1:2] if of_colours else _shaped(colour, top, shaper)
    eight_bit = colour if colour.dtype == np.uint8 else np.rint(colour.clip(0, top) * (255 / top)).astype(np.uint8)
    if is_grey:
        eight_bit = eight_bit[..., 0] if transform.inputMode == "L" else eight_bit.repeat(3, axis=2)
    converted = _by_transform(eight_bit, transform)
    converted = converted[..., 1:2] if is_grey else converted
    return converted if colour.dtype == np.uint8 else (converted * (top / 255)).astype(colour.dtype)


def other_space_to_srgb(image: Image.Image, name: str) -> np.ndarray:
    """Return (H, W, 3) uint8 of a CMYK or Lab image of Pillow's, by its profile where it has one that fits."""
    profile = image.info.get("icc_profile")
    if image.mode == "LAB":
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    transform = None if profile is None else _transform(profile, image.mode)
    if transform is not None:
        return np.asarray(ImageCms.applyTransform(image, transform))
    if profile is not None:
        _say_unusable(profile, name)
    return np.asarray(image.convert("RGB"))


def _say_converted(profile: bytes, name: str) -> None:
    described = _described(profile)
    say_once(described, f"{name}: has the colour profile '{described}' and is converted to sRGB, as all such are")


def _say_unusable(profile: bytes, name: str) -> None:
    say_once(profile, f"{name}: its colour profile does not fit it, or is damaged: its colours are taken for sRGB")


def _described(profile: bytes) -> str:
    try:
        return ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile))).strip()
    except (ImageCms.PyCMSError, OSError):
        return "without a name"


# by LittleCMS, 8 bits -------------------------------------------------------------------------------------------------


def _space(profile: bytes) -> str:
    return profile[16:20].decode("latin-1").strip()


@lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return what converts Pillow's ``mode`` to sRGB; None: the profile is damaged, or of another kind of colours."""
    if _space(profile) != _SPACES[mode]:
        return None
    try:
        given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return ImageCms.buildTransform(given, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


def _by_transform(pixels: np.ndarray, transform: ImageCms.ImageCmsTransform) -> np.ndarray:
    return np.asarray(ImageCms.applyTransform(Image.fromarray(np.ascontiguousarray(pixels)), transform))


@lru_cache(maxsize=16)
def _is_srgb(profile: bytes, transform: ImageCms.ImageCmsTransform) -> bool:
    """Tell whether a profile moves no colour of a grid by more than a rounding, as the many versions of sRGB do."""
    steps = np.arange(256, dtype=np.uint8)
    if transform.inputMode == "L":
        ramp = steps[None]
        expected = np.repeat(ramp[..., None], 3, axis=2)
    else:
        grid = np.stack(np.meshgrid(*[steps[::15]] * 3), axis=-1).reshape(1, -1, 3)
        ramp = expected = np.concatenate([np.repeat(steps[None, :, None], 3, axis=2), grid], axis=1)
    return bool(np.abs(_by_transform(ramp, transform).astype(int) - expected).max() <= _SAME)


# by curves and a matrix, any depth ------------------------------------------------------------------------------------


@lru_cache(maxsize=16)
def _matrix_shaper(profile: bytes) -> tuple[tuple[Curve, ...], np.ndarray] | None:
    """Return a curve for each channel and the matrix to linear sRGB, one and (1, 1) of grey; None: it has tables."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    try:
        tags, reference = _tags(profile), _tags(srgb)
        if _space(profile) == "GRAY":
            return (_curve(tags["kTRC"]),), np.eye(1)
        curves = tuple(_curve(tags[f"{channel}TRC"]) for channel in "rgb")
        to_xyz, srgb_to_xyz = (_matrix(of) for of in (tags, reference))
    except (KeyError, struct.error, ValueError):
        return None
    return curves, np.linalg.solve(srgb_to_xyz, to_xyz)


def _tags(profile: bytes) -> dict[str, bytes]:
    (count,) = struct.unpack_from(">I", profile, 128)
    entries = [struct.unpack_from(">4sII", profile, 132 + 12 * index) for index in range(min(count, 100))]
    return {kind.decode("latin-1"): profile[start : start + size] for kind, start, size in entries}


def _matrix(tags: dict[str, bytes]) -> np.ndarray:
    return np.array([struct.unpack_from(">3i", tags[f"{channel}XYZ"], 8) for channel in "rgb"]).T / 65536


def _curve(tag: bytes) -> Curve:
    if tag[:4] == b"curv":
        (count,) = struct.unpack_from(">I", tag, 8)
        values = np.array(struct.unpack_from(f">{count}H", tag, 12))
        if count > 1:
            return lambda x: np.interp(x, np.linspace(0, 1, count), values / 65535)
        gamma = values[0] / 256 if count else 1.0
        return lambda x: x**gamma
    kind, _ = struct.unpack_from(">HH", tag, 8)
    count = {0: 1, 1: 3, 2: 4, 3: 5, 4: 7}[kind]
    given = [value / 65536 for value in struct.unpack_from(f">{count}i", tag, 12)]
    gamma, a, b, c, d, e, f = {0: [*given, 1, 0, 0, 0, 0, 0], 4: given}.get(kind, [*given, *[0] * (7 - count)])
    if kind in (1, 2):  # (a x + b)^gamma + c from -b / a on, c below
        c, d, e, f = 0, -b / a, c, c
    return lambda x: np.where(x >= d, (a * x + b).clip(0) ** gamma + e, c * x + f)


def _shaped(colour: np.ndarray, top: int, shaper: tuple[tuple[Curve, ...], np.ndarray]) -> np.ndarray:
    curves, matrix = shaper
    result = np.empty_like(colour)
    for row in range(0, len(colour), _ROWS_AT_ONCE):
        part = colour[row : row + _ROWS_AT_ONCE].astype(np.float64) / top
        linear = np.stack([curve(part[..., i].clip(0, 1)) for i, curve in enumerate(curves)], axis=-1) @ matrix.T
        linear = linear.clip(0, 1)
        low = linear <= 0.0031308
        encoded = np.where(low, 12.92 * linear, 1.055 * linear**_SRGB_EXPONENT - 0.055) * top
        result[row : row + _ROWS_AT_ONCE] = encoded if colour.dtype.kind == "f" else np.rint(encoded)
    return result
