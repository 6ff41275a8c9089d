"""From a photograph of any size to a GT of the size that is asked for."""

from __future__ import annotations

from torch import Tensor

from tim_plugin.errors import TimError
from tim_plugin.images import round_to_8_bit
from tim_plugin.resize import bicubic_resize

LARGEST_ASPECT = 16  # a strip of 5000x20 would be enlarged to hundreds of megabytes


def resize_short_side(photo: Tensor, side_px: int, name: str) -> Tensor:
    """Resize (C, H, W) in [0, 1] so that the short side is ``side_px``: antialiased bicubic, rounded to 8 bits.

    Raises:
        TimError: The photograph, which is named, is a strip.
    """
    height, width = photo.shape[-2:]
    short, long = min(height, width), max(height, width)
    if long > LARGEST_ASPECT * short:
        raise TimError(
            f"{name}: is {width}x{height}, too narrow for a crop of {side_px}x{side_px}: at most "
            f"{LARGEST_ASPECT} times as long as wide"
        )
    size = tuple(side_px if side == short else round(side * side_px / short) for side in (height, width))
    return photo if size == (height, width) else round_to_8_bit(bicubic_resize(photo, size))


def crop_centre(photo: Tensor, height: int, width: int) -> Tensor:
    """Return the middle (C, height, width) of a photograph (C, H, W)."""
    top, left = (photo.shape[-2] - height) // 2, (photo.shape[-1] - width) // 2
    return photo[..., top : top + height, left : left + width].contiguous()
