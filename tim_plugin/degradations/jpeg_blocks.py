"""What JPEG does between pixels and coefficients (ITU T.81, JFIF), as differentiable functions of tensors."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tim_plugin.utils.constants import constant

BLOCK_PX = 8
# JFIF 1.02: RGB in [0, 255] -> Y, Cb, Cr; the offset of Cb and Cr is left to JPEG's level shift, which removes it.
_RGB_TO_YCC = ((0.299, 0.587, 0.114), (-0.168735892, -0.331264108, 0.5), (0.5, -0.418687589, -0.081312411))
_LEVEL = 128.0


def _to_ycc() -> Tensor:
    return torch.tensor(_RGB_TO_YCC, dtype=torch.float64)


def _from_ycc() -> Tensor:
    return torch.linalg.inv(_to_ycc())


def _shift() -> Tensor:
    return torch.tensor([_LEVEL, 0.0, 0.0])[:, None, None]


def rgb_to_ycc(images: Tensor) -> Tensor:
    """Convert (N, 3, H, W) RGB in [0, 1] to level-shifted Y, Cb, Cr: each about -128 to 127."""
    mixed = torch.einsum("ij,njhw->nihw", constant(_to_ycc, images), images * 255)
    return mixed - constant(_shift, images)


def ycc_to_rgb(ycc: Tensor) -> Tensor:
    """Convert level-shifted Y, Cb, Cr (N, 3, H, W) to RGB, nominally in [0, 1]: the inverse of :func:`rgb_to_ycc`."""
    return torch.einsum("ij,njhw->nihw", constant(_from_ycc, ycc), ycc + constant(_shift, ycc)) / 255


def shrink_plane(plane: Tensor, factors: tuple[int, int]) -> Tensor:
    """Average (N, H, W) over boxes of ``factors`` (rows, columns), as JPEG sub-samples chroma."""
    rows, columns = factors
    count, height, width = plane.shape
    return plane.view(count, height // rows, rows, width // columns, columns).mean(dim=(2, 4))


def spread_plane(plane: Tensor, factors: tuple[int, int]) -> Tensor:
    """Repeat each value over a box of ``factors``: the pseudo-inverse of :func:`shrink_plane`."""
    return plane.repeat_interleave(factors[0], dim=1).repeat_interleave(factors[1], dim=2)


def dct(plane: Tensor) -> Tensor:
    """Transform (N, H, W), sides multiples of 8, block by block (DCT-II, orthonormal); a block stays where it was."""
    return _by_block(constant(_dct_matrix, plane), plane)


def inverse_dct(coefficients: Tensor) -> Tensor:
    """Return the plane (N, H, W) of DCT coefficients (N, H, W): the inverse of :func:`dct`."""
    return _by_block(constant(_dct_matrix, coefficients).T, coefficients)


def _by_block(matrix: Tensor, plane: Tensor) -> Tensor:
    count, height, width = plane.shape
    blocks = plane.view(count, height // BLOCK_PX, BLOCK_PX, width // BLOCK_PX, BLOCK_PX)
    return torch.einsum("ai,nyixj,bj->nyaxb", matrix, blocks, matrix).reshape(count, height, width)


def _dct_matrix() -> Tensor:
    k = torch.arange(BLOCK_PX, dtype=torch.float64)
    matrix = torch.cos(math.pi * (2 * k[None] + 1) * k[:, None] / (2 * BLOCK_PX)) * math.sqrt(2 / BLOCK_PX)
    matrix[0] /= math.sqrt(2)
    return matrix


def tile_table(table: Tensor, size: tuple[int, int]) -> Tensor:
    """Repeat quantisation tables (N, 8, 8) over planes of ``size``: (N, H, W)."""
    return table.repeat(1, size[0] // BLOCK_PX, size[1] // BLOCK_PX)
