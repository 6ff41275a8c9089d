"""Resizing and cropping of photographs to the size of a GT."""

from __future__ import annotations

from torch import Tensor

from tim_plugin.utils.errors import TimError
from tim_plugin.utils.images import round_to_8_bit
from tim_plugin.utils.resize import bicubic_resize

_LARGEST_ASPECT = 16  # a strip of 5000x20 would be enlarged to hundreds of megabytes


def resize_short_side(photo: Tensor, needed_px: int | tuple[int, int], name: str) -> Tensor:
    """Resize (C, H, W) in [0, 1] so that it just covers a crop: antialiased bicubic, rounded to 8 bits.

    Args:
        photo: The image.
        needed_px: Side of a square crop, which the short side becomes; or height and width of a crop.
        name: For errors.

    Raises:
        TimError: The photograph, which is named, is a strip.
    """
    height, width = photo.shape[-2:]
    short, long = min(height, width), max(height, width)
    needed = (needed_px, needed_px) if isinstance(needed_px, int) else needed_px
    if long > _LARGEST_ASPECT * short:
        raise TimError(
            f"{name}: is {width}x{height}, too narrow for a crop of {needed[1]}x{needed[0]}: at most "
            f"{_LARGEST_ASPECT} times as long as wide"
        )
    factor = max(needed[0] / height, needed[1] / width)
    return resize_to(
        photo, tuple(max(round(side * factor), px) for side, px in zip((height, width), needed, strict=True))
    )


def resize_to(photo: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize (C, H, W) in [0, 1] to ``size`` (h, w), whatever its shape: antialiased bicubic, rounded to 8 bits."""
    return photo if size == tuple(photo.shape[-2:]) else round_to_8_bit(bicubic_resize(photo, size))


def crop_centre(photo: Tensor, height: int, width: int) -> Tensor:
    """Return the middle (C, height, width) of a photograph (C, H, W)."""
    top, left = (photo.shape[-2] - height) // 2, (photo.shape[-1] - width) // 2
    return photo[..., top : top + height, left : left + width].contiguous()
