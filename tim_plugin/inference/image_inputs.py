"""What a caller gives as an input, in memory or on disk, as the content of an image file that a degradation reads.

A degradation has one reader, that of files. What lies in memory is therefore put into a PNG: bytes as they are, floats
with 16 bits, which keeps 8-bit values to the bit and all others to 1/131070.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn

from tim_plugin.degradations.base import Degradation
from tim_plugin.degradations.labels import Labels
from tim_plugin.utils.color_profiles import other_space_to_srgb
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.images import encode_pixels, read_bytes
from tim_plugin.utils.names import check_name, require_path

UNNAMED = "image"
ROUNDING = 1e-3  # floats may lie outside [0, 1] by so much; more is another range
PIL_MODES = ("1", "L", "LA", "P", "RGB", "RGBA")  # that PNG has
INTEGERS = ("I", "I;16", "I;16L", "I;16B")  # PIL modes of grey with more than 8 bits
FILES_OF_16_BITS = ("PNG", "PPM")  # which are opened in these modes
TO_RGB = ("CMYK", "YCbCr", "LAB", "HSV")
KINDS = (
    "a path, the bytes of an image file, a PIL image, a numpy array (H, W) or (H, W, C), or a tensor (3, H, W), "
    "(1, H, W) or (N, 3, H, W)"
)

InputLike = str | os.PathLike | bytes | Image.Image | np.ndarray | Tensor


class ImageFile(NamedTuple):
    """An input's content.

    Attributes:
        key: What its samples are drawn by, beside seed and number: a file's name without suffix.
        source: For errors and records.
        content: Of an image file.
    """

    key: str
    source: str
    content: bytes


def image_files(given: InputLike, degradation: Degradation, name: str | None = None) -> list[ImageFile]:
    """Return the image file of an input, or those of the images of a batch.

    Args:
        given: A path; the bytes of an image file; a PIL image; an array (H, W) or (H, W, C) with 1, 3 or 4 channels; a
            tensor (H, W), (1, H, W), (3, H, W), or (N, 3, H, W) or (N, 1, H, W) for N images. Integers are uint8, 0 to
            255, or uint16, 0 to 65535, of either byte order; floats lie in [0, 1]. A PIL image of mode ``I`` has 8 bits
            if no value is above 255, unless it was opened from a file of 16 bits; those of ``I;16`` have 16. A label
            map holds class indices (integers, one channel) or colours.
        degradation: Will read it; one that needs a JPEG's coefficients takes a path or bytes.
        name: The key of what has no file's name; None: ``image``. Those of a batch are ``NAME_0``, ``NAME_1``, ...

    Raises:
        TimError: It is of another kind, or its shape, type or range is wrong; the message says what would be right.
    """
    if name is not None:
        check_name("name", name)
    if isinstance(given, (str, os.PathLike)):
        return [_of_path(require_path("the input", given, f"give {KINDS}"), name)]
    key = UNNAMED if name is None else name
    if isinstance(given, (bytes, bytearray, memoryview)):
        return [ImageFile(key, key, bytes(given))]
    if not isinstance(given, (Image.Image, np.ndarray, Tensor)):
        raise TimError(f"the input is of type {type(given).__name__}: give {KINDS}")
    if degradation.needs:
        raise TimError(
            "the input is a decoded image: this tower reads a JPEG's coefficients, which pixels no longer hold: give "
            "the path of the JPEG file, or its bytes"
        )
    if isinstance(given, Image.Image):
        return [ImageFile(key, key, _of_pil(given))]
    reads_labels = isinstance(degradation, Labels)
    if isinstance(given, np.ndarray):
        return [ImageFile(key, key, _png(_channels_last(given), reads_labels))]
    if given.layout != torch.strided or given.is_meta or given.is_nested or given.is_quantized:
        raise TimError("the input is a sparse, nested or quantized tensor, or one without values: give a dense one")
    images = [_planes_last(one) for one in (given if given.dim() == 4 else [given])]
    if not images:
        raise TimError("the input is a batch of no images")
    keys = [f"{key}_{index}" for index in range(len(images))] if given.dim() == 4 else [key]
    return [ImageFile(key, key, _png(image, reads_labels)) for key, image in zip(keys, images, strict=True)]


def require_channels(tower: nn.Module, source: str) -> None:
    """Raise TimError for a tower that takes inputs of another number of channels than are read of ``source``."""
    read, taken = tower.degradation.channels, tower.spec.num_in_ch
    if read != taken:
        raise TimError(
            f"{source}: is read with {read} channels, and the network has num_in_ch: {taken}: sample it by "
            "tools/test.py with the data set that it was trained on"
        )


def _of_path(path: Path, name: str | None) -> ImageFile:
    if os.path.isdir(path):  # where Path's own raises, as for a name that is too long, it is no folder
        raise TimError(f"{path}: is a folder: give a file of it, or sample the whole folder by tim_plugin.sample")
    return ImageFile(path.stem if name is None else name, str(path), read_bytes(path))


def _of_pil(image: Image.Image) -> bytes:
    if image.mode not in (*PIL_MODES, *INTEGERS, *TO_RGB):
        way_out = "give np.asarray(image), in [0, 1]" if image.mode == "F" else "convert it: image.convert('RGB')"
        raise TimError(f"the input is a PIL image of mode {image.mode}: {way_out}")
    content = io.BytesIO()
    try:
        upright = ImageOps.exif_transpose(image)
        if image.mode in ("CMYK", "LAB"):
            upright = Image.fromarray(other_space_to_srgb(upright, "the input"))
        if image.mode in INTEGERS:
            upright = _with_8_or_16_bits(upright, image.mode != "I" or image.format in FILES_OF_16_BITS)
        (upright.convert("RGB") if image.mode in TO_RGB else upright).save(content, "PNG", compress_level=1)
    except TimError:
        raise
    except (OSError, SyntaxError, ValueError) as error:
        raise TimError(f"the input is a PIL image that cannot be decoded: {error}") from error
    return content.getvalue()


def _with_8_or_16_bits(image: Image.Image, has_16: bool) -> Image.Image:
    """Return grey of integers as a PNG may hold it; where nothing says how many bits they have, their values do."""
    values = np.asarray(image)
    lowest, highest = int(values.min(initial=0)), int(values.max(initial=0))
    if lowest < 0 or highest > 65535:
        raise TimError(
            f"the input is a PIL image of mode {image.mode} with values from {lowest} to {highest}: an image's lie "
            "from 0 to 255, or with 16 bits to 65535"
        )
    found = Image.fromarray(values.astype(np.uint16 if has_16 or highest > 255 else np.uint8))
    found.info = dict(image.info)  # its colour profile
    return found


def _channels_last(array: np.ndarray) -> np.ndarray:
    """Return (H, W, C) of an array."""
    shape = tuple(array.shape)
    if array.ndim == 2:
        return array[..., None]
    if array.ndim == 3 and shape[2] in (1, 3, 4):
        return array
    way_out = ""
    if array.ndim == 3 and shape[0] in (1, 3, 4):
        way_out = "; use array.transpose(1, 2, 0), or give a tensor"
    elif array.ndim == 4:
        way_out = "; several images of one size are a tensor (N, 3, H, W)"
    raise TimError(f"the input is an array of shape {shape}, not (H, W), or (H, W, C) with 1, 3 or 4 channels{way_out}")


def _planes_last(image: Tensor) -> np.ndarray:
    """Return (H, W, C) of a tensor (H, W) or (C, H, W)."""
    shape = tuple(image.shape)
    image = image.detach().cpu().resolve_conj().resolve_neg()
    if image.is_floating_point() and image.dtype not in (torch.float16, torch.float32):
        image = image.float()  # numpy has not all of them
    if image.dim() == 2:
        return image[..., None].numpy()
    if image.dim() == 3 and shape[0] in (1, 3):
        return image.permute(1, 2, 0).numpy()
    way_out = "; use tensor.permute(2, 0, 1)" if image.dim() == 3 and shape[2] in (1, 3) else ""
    raise TimError(
        f"the input is a tensor of shape {shape} for an image, not (3, H, W) or (1, H, W), several of which are "
        f"(N, 3, H, W){way_out}"
    )


def _png(pixels: np.ndarray, reads_labels: bool) -> bytes:
    """Encode (H, W, C) of any type."""
    pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    if pixels.size == 0:
        raise TimError(f"the input has no pixels: its shape is {pixels.shape}")
    if pixels.dtype.kind == "f":
        pixels = _of_floats(pixels, reads_labels)
    elif reads_labels and pixels.shape[2] == 1 and pixels.dtype.kind in "iu":
        pixels = _of_indices(pixels)
    elif pixels.dtype not in (np.uint8, np.uint16):
        raise TimError(
            f"the input has values of type {pixels.dtype}: an image is uint8 from 0 to 255, uint16 from 0 to 65535, or "
            "floats in [0, 1]"
        )
    return encode_pixels(pixels)


def _of_floats(pixels: np.ndarray, reads_labels: bool) -> np.ndarray:
    if not np.isfinite(pixels).all():
        raise TimError("the input holds values that are NaN or infinite: an image's lie in [0, 1]")
    lowest, highest = float(pixels.min()), float(pixels.max())
    if lowest < -ROUNDING or highest > 1 + ROUNDING:
        if reads_labels:
            way_out = "give class indices as integers, or colours in [0, 1]"
        elif lowest >= 0 and highest <= 255:
            way_out = "divide it by 255, or give it as uint8"
        else:
            way_out = "for a range of [-1, 1] give (x + 1) / 2, else clamp it"
        raise TimError(f"the input's values lie in [{lowest:.4g}, {highest:.4g}], those of floats in [0, 1]: {way_out}")
    if reads_labels and pixels.shape[2] == 1:
        raise TimError("the input is a label map of floats: give class indices as integers, or RGB colours")
    top, kind = (255, np.uint8) if reads_labels else (65535, np.uint16)
    return np.rint(pixels.astype(np.float64).clip(0, 1) * top).astype(kind)


def _of_indices(pixels: np.ndarray) -> np.ndarray:
    lowest, highest = int(pixels.min()), int(pixels.max())
    if lowest < 0 or highest > 65535:
        raise TimError(f"the input is a label map with values from {lowest} to {highest}: class indices count from 0")
    return pixels.astype(np.uint8 if highest < 256 else np.uint16)
