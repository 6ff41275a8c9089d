"""Each level's condition and each level's target (paper, section 4.1), coarse to fine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import Tensor
from torch.nn import functional as F

from tim_plugin.degradations.base import Degradation, Observed
from tim_plugin.imle.tensor_checks import check_batch, checked_number
from tim_plugin.imle.types import Condition, Known, Weighted
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.resize import bicubic_resize
from tim_plugin.utils.trees import map_tensors

Shrink = Callable[[Tensor, tuple[int, int]], Tensor]


class Pyramids(NamedTuple):
    """What a search and a training step need of N examples, coarse to fine: each level's condition and target."""

    conditions: list[Condition]
    targets: list[Tensor | Weighted | Known]


def pyramids_of(batch: Mapping[str, Any], tower: Any) -> Pyramids:
    """Return the condition and the target of each level for the examples of a batch.

    Args:
        batch: ``lq`` and ``gt``, and maybe ``given`` and ``weight`` (see DegradedImageDataset).
        tower: With ``spec`` and ``degradation``.
    """
    observed = Observed(batch["lq"], batch.get("given", {}))
    return Pyramids(
        condition_pyramid(observed, tower.spec, tower.degradation),
        target_pyramid(batch["gt"], tower.spec.num_levels, batch.get("weight")),
    )


def condition_pyramid(observed: Observed, spec: Any, degradation: Degradation) -> list[Condition]:
    """Return what each level is given of the input, coarse to fine.

    With placement ``upsample`` the first level reads the LQ, and levels above it the enlarged LQ if
    ``condition_every_level``; with ``same`` level k reads the LQ at 1 / 2^(L-1-k) of its size, shrunk as the
    degradation says. A tower that enlarges and whose LQ has the GT's size reads it at half the size of each image.

    Args:
        observed: (N, C, h, w) and what else is given, batched.
        spec: What the tower is: ``num_levels``, ``placement``, ``scale``, ``condition_every_level``, ``consistency``.
        degradation: The tower's; what the projection needs is left out where the tower does not project.

    Raises:
        TimError: The LQ is shrunk, and a side of it is not divisible by the largest step; or the projection needs more
            than is given.
    """
    if spec.consistency == "project":
        degradation.require_complete(observed)
    images = _level_inputs(observed.lq, spec, degradation)
    last = spec.num_levels - 1
    return [
        Condition(
            image, degradation.given_at_level(observed, image, k == last) if spec.consistency == "project" else None
        )
        for k, image in enumerate(images)
    ]


def _level_inputs(lq: Tensor, spec: Any, degradation: Degradation) -> list[Tensor | None]:
    if spec.placement == "same":
        return _down_pyramid(lq, spec.num_levels, degradation.shrink)
    if spec.scale == 1:
        return _down_pyramid(lq, spec.num_levels + 1, degradation.shrink)[:-1]
    height, width = lq.shape[-2:]
    sizes = [(height * 2**k, width * 2**k) for k in range(1, spec.num_levels)]
    return [lq, *(bicubic_resize(lq, size) if spec.condition_every_level else None for size in sizes)]


def target_pyramid(gt: Tensor, num_levels: int, weight: Tensor | None = None) -> list[Tensor | Weighted]:
    """Return the GT (N, C, H, W) at each level's output size by antialiased bicubic; the last is the GT itself.

    Args:
        gt: In [0, 1].
        num_levels: L, from 1.
        weight: (N, 1, H, W): what each pixel of the GT counts; averaged over what each smaller pixel covers.

    Raises:
        TimError: A side is not divisible by 2^(L-1), or these are no images of floats.
    """
    check_batch("gt", gt)
    targets = _down_pyramid(gt, checked_number("num_levels", num_levels, int, 1), bicubic_resize)
    if weight is None:
        return targets
    return [Weighted(target, F.adaptive_avg_pool2d(weight, target.shape[-2:])) for target in targets]


def moved(images: Tensor | Weighted | Known, offset: tuple[int, int], most: int) -> Tensor | Weighted:
    """Return images (N, C, H, W) at an offset in a frame of (H + most, W + most); their edge is repeated around them.

    Args:
        images: Or targets with weights, which are moved likewise, or with features, which are left behind.
        offset: Down and to the right, each from 0 to ``most``.
        most: Pixels.
    """
    if isinstance(images, Known):
        images = images.target
    down, right = offset
    frame = (right, most - right, down, most - down)
    return map_tensors(lambda one: F.pad(one, frame, mode="replicate"), images)


def _down_pyramid(images: Tensor, num_levels: int, shrink: Shrink) -> list[Tensor]:
    height, width = images.shape[-2:]
    coarsest = 2 ** (num_levels - 1)
    if height % coarsest or width % coarsest:
        raise TimError(
            f"an image of {width}x{height} does not divide into {num_levels} levels: its sides must be "
            f"multiples of {coarsest}"
        )
    steps = [2 ** (num_levels - 1 - k) for k in range(num_levels)]
    return [images if step == 1 else shrink(images, (height // step, width // step)) for step in steps]
