"""JPEG files: pixels as OpenCV decodes them, and the coefficients and tables that the file holds (by jpeglib)."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from typing import Any

import cv2
import jpeglib
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tim_plugin.utils.errors import TimError
from tim_plugin.utils.images import JPEG, decode_image, require_whole

_EXIF_ORIENTATION = 274
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
    decode_image(content, name)  # names what is damaged
    _require_upright(content, name)
    parts = _coefficients(content, name)
    bgr = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    rgb = torch.from_numpy(np.ascontiguousarray(bgr[..., ::-1].transpose(2, 0, 1))).float() / 255
    if min(rgb.shape[-2:]) < _SMALLEST_PX:
        raise TimError(f"{name}: is {rgb.shape[2]}x{rgb.shape[1]}, smaller than {_SMALLEST_PX}x{_SMALLEST_PX} pixels")
    return rgb, parts


def _require_upright(content: bytes, name: str) -> None:
    with Image.open(io.BytesIO(content)) as image:
        if image.mode == "CMYK":
            raise TimError(f"{name}: is a CMYK JPEG; convert it to RGB first")
        if image.getexif().get(_EXIF_ORIENTATION, 1) != 1:
            raise TimError(
                f"{name}: is rotated by its EXIF tag, and its coefficients belong to the stored picture: rotate it "
                "without loss first (jpegtran), or remove the tag"
            )


def _coefficients(content: bytes, name: str) -> dict[str, Tensor]:
    with tempfile.TemporaryDirectory() as folder:  # jpeglib reads files only
        path = Path(folder) / "image.jpg"
        path.write_bytes(content)
        try:
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
