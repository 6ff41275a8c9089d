"""JPEG files: pixels as they are decoded, and the coefficients and tables that the file holds (by jpeglib)."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import jpeglib
import numpy as np
import torch
from torch import Tensor

from tim_plugin.utils.errors import TimError
from tim_plugin.utils.image_decoding import decode_image
from tim_plugin.utils.image_headers import JPEG, Header, read_header, require_whole
from tim_plugin.utils.notes import say_once
from tim_plugin.utils.silence import stderr_silenced

_SMALLEST_PX = 16  # one block of sub-sampled chroma; below it the sub-sampling cannot be told from the blocks
_FACTORS = (1, 2)


def read_jpeg(content: bytes, name: str) -> tuple[Tensor, dict[str, Tensor]]:
    """Read the pixels and the DCT coefficients of a JPEG file.

    Args:
        content: The file's bytes.
        name: What the file is called in errors.

    Returns:
        RGB (3, H, W) in [0, 1]; and, so that files of all kinds fit into one batch, ``y``, ``cb``, ``cr`` of one size:
        dequantised coefficients, block (i, j) at rows 8 i, columns 8 j, those of sub-sampled chroma at the top left;
        ``tables`` (3, 8, 8), float32; ``sampling`` (2,): how often chroma has fewer rows and columns, 0 for grey.

    Raises:
        TimError: No JPEG, damaged, CMYK, RGB-coded, rotated by its EXIF tag, or sub-sampled in an unusual way.
    """
    require_whole(content, name)
    if not content.startswith(JPEG):
        raise TimError(f"{name}: is no JPEG file; its compression is what is to be undone")
    _require_ordinary(read_header(content, name), name)
    rgb = decode_image(content, name, keep_profile=True).rgb
    parts = _coefficients(content, name)
    if min(rgb.shape[-2:]) < _SMALLEST_PX:
        raise TimError(f"{name}: is {rgb.shape[2]}x{rgb.shape[1]}, smaller than {_SMALLEST_PX}x{_SMALLEST_PX} pixels")
    return rgb, parts


def _require_ordinary(header: Header, name: str) -> None:
    if header.image.mode == "CMYK":
        raise TimError(f"{name}: is a CMYK JPEG; convert it to RGB first")
    if header.orientation != 1:
        raise TimError(
            f"{name}: is rotated by its EXIF tag, and its coefficients belong to the stored picture: rotate it "
            "without loss first (jpegtran), or remove the tag"
        )
    if header.image.info.get("icc_profile"):
        say_once("profile of a JPEG", f"{name}: its colour profile is left out: coefficients are of stored colours")


def _coefficients(content: bytes, name: str) -> dict[str, Tensor]:
    with tempfile.TemporaryDirectory() as folder:  # jpeglib reads files only
        path = Path(folder) / "image.jpg"
        path.write_bytes(content)
        try:
            with stderr_silenced():
                image = jpeglib.read_dct(str(path))
                parts = [image.Y, *([image.Cb, image.Cr] if image.has_chrominance else [])]
        except (OSError, RuntimeError, ValueError) as error:
            raise TimError(f"{name}: its coefficients cannot be read: {error}") from error
    if image.jpeg_color_space.name not in ("JCS_YCbCr", "JCS_GRAYSCALE"):
        raise TimError(f"{name}: is coded as {image.jpeg_color_space.name[4:]}; save it as an ordinary (YCbCr) JPEG")
    sampling = _sampling(image, name)
    tables = torch.zeros(3, 8, 8)
    for index in range(len(parts)):
        tables[index] = torch.from_numpy(np.asarray(image.get_component_qt(index), np.float32))
    planes = torch.zeros(3, *(8 * blocks for blocks in parts[0].shape[:2]))
    for plane, part, table in zip(planes, parts, tables, strict=False):
        values = torch.from_numpy(np.asarray(part, np.float32)) * table  # (rows, columns, 8, 8)
        rows, columns = (8 * blocks for blocks in values.shape[:2])
        plane[:rows, :columns] = values.permute(0, 2, 1, 3).reshape(rows, columns)
    return {**dict(zip(("y", "cb", "cr"), planes, strict=True)), "tables": tables, "sampling": sampling}


def _sampling(image: Any, name: str) -> Tensor:
    factors = np.asarray(image.samp_factor)  # (components, 2)
    ratios = factors[0] / factors
    if not np.isin(ratios, _FACTORS).all() or (len(ratios) > 1 and (ratios[1] != ratios[2]).any()):
        raise TimError(f"{name}: its chroma is sub-sampled by {ratios[1:].tolist()}; only 1 and 2 are supported")
    return torch.tensor(ratios[1].tolist() if len(ratios) > 1 else [0, 0], dtype=torch.int64)
