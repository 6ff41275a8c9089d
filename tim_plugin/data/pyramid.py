"""Each level's condition and each level's target (paper, section 4.1): antialiased bicubic, coarse to fine."""

from __future__ import annotations

from torch import Tensor

from tim_plugin.errors import TimError
from tim_plugin.resize import bicubic_resize


def condition_pyramid(lq: Tensor, *, num_levels: int, placement: str, every_level: bool) -> list[Tensor | None]:
    """Return what each level reads of the input, coarse to fine.

    Args:
        lq: (N, C, h, w) in [0, 1].
        num_levels: L.
        placement: ``upsample``: the first level reads the LQ; ``same``: level k reads it at 1 / 2^(L-1-k) of its size.
        every_level: With ``upsample``, levels above the first read the LQ, enlarged to their reading size, too; without
            it their entry is None.

    Raises:
        TimError: ``same``, and a side of the input is not divisible by 2^(L-1).
    """
    height, width = lq.shape[-2:]
    if placement == "same":
        return _down_pyramid(lq, num_levels)
    above = [bicubic_resize(lq, (height * 2**k, width * 2**k)) if every_level else None for k in range(1, num_levels)]
    return [lq, *above]


def target_pyramid(gt: Tensor, num_levels: int) -> list[Tensor]:
    """Return the GT (N, C, H, W) at each level's output size, coarse to fine; the last is the GT itself.

    Raises:
        TimError: A side is not divisible by 2^(L-1).
    """
    return _down_pyramid(gt, num_levels)


def _down_pyramid(images: Tensor, num_levels: int) -> list[Tensor]:
    height, width = images.shape[-2:]
    coarsest = 2 ** (num_levels - 1)
    if height % coarsest or width % coarsest:
        raise TimError(
            f"an image of {width}x{height} does not divide into {num_levels} levels: its sides must be "
            f"multiples of {coarsest}"
        )
    steps = [2 ** (num_levels - 1 - k) for k in range(num_levels)]
    return [images if step == 1 else bicubic_resize(images, (height // step, width // step)) for step in steps]
