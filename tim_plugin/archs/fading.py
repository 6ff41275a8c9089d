"""Details that fade out where the input is flat, so that skies and skin stay as smooth as they are.

A small network sharpens the faintest steps of its input as it sharpens edges: a clear sky gets scales. What is flat in
a small image is seldom rough in the large one, so that a level's details, which are what its image adds to the enlarged
input, are made to follow the input's local contrast.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from tim_plugin.utils.resize import resizer_of_rows
from tim_plugin.utils.strips import by_strips


def faded(images: Tensor, lq: Tensor, contrast: float) -> Tensor:
    """Return images whose details are faded where the LQ has little contrast; differentiable in the images.

    Args:
        images: (N, C, H, W).
        lq: (N, C, h, w), nominally in [0, 1].
        contrast: Local contrast of the LQ from which on details are kept whole; more than 0.
    """
    lq, size = lq.to(images.dtype), (images.shape[-2], images.shape[-1])
    base_of, share_of = (resizer_of_rows(one, size) for one in (lq, kept_share(lq, contrast)))

    def of_rows(some: Tensor, rows: slice) -> Tensor:
        base = base_of(rows)
        return base + share_of(rows).clamp(0, 1) * (some - base)

    return by_strips(of_rows, images)


def kept_share(lq: Tensor, contrast: float) -> Tensor:
    """Return the share of details that is kept at each pixel of the LQ (N, C, h, w): (N, 1, h, w), in [0, 1].

    It is the deviation of the mean over the channels in the 3x3 pixels around, over ``contrast``.
    """
    grey = F.pad(lq.mean(dim=1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    mean, of_squares = (F.avg_pool2d(one, 3, 1) for one in (grey, grey * grey))
    return ((of_squares - mean * mean).clamp_min(0).sqrt() / contrast).clamp(max=1)
