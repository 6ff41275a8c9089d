"""Distances between images as BasicSR losses: ``train: perceptual_opt`` of TIMModel, and of BasicSR's own models."""

from __future__ import annotations

import math
from numbers import Real

from torch import Tensor, nn

from tim_plugin.losses.distance import PerceptualDistance, PixelDistance
from tim_plugin.utils.errors import TimError


class _DistanceLoss(nn.Module):
    """Mean of a distance times a weight, as the pair (loss, None) that BasicSR expects of a perceptual loss."""

    def __init__(self, distance: nn.Module, loss_weight: float) -> None:
        super().__init__()
        if isinstance(loss_weight, bool) or not isinstance(loss_weight, Real) or not 0 < loss_weight < math.inf:
            raise TimError(
                f"perceptual_opt: loss_weight {loss_weight!r} is not a number above 0 "
                "(in YAML write !!float 1e-2 for 0.01)"
            )
        self.distance, self.loss_weight = distance, float(loss_weight)

    def forward(self, pred: Tensor, gt: Tensor) -> tuple[Tensor, None]:
        """Return the scalar loss of images (N, 3, H, W) in [0, 1], and None for BasicSR's style loss."""
        return self.loss_weight * self.distance(pred, gt).mean(), None


class PerceptualDistanceLoss(_DistanceLoss):
    """:class:`tim_plugin.losses.distance.PerceptualDistance` as a loss; LPIPS with the defaults.

    Args:
        loss_weight: More than 0.
        backbone: ``vgg16``, ``alexnet``, ``squeezenet1_1`` or ``tim_small``.
        weights: ``imagenet``, ``bundled``, ``random``, or the path of a file of weights.
        calibration: ``lpips``, ``bundled`` or ``none``: how channels are weighted.
        seed: Of random weights.
        soften: How much less flat parts of an image count; 0: as much as any, as in LPIPS.
        pixels: Weight of the pixels' squared difference, which is added; 0: none, as in LPIPS.
        precision: Of the backbone: ``fp32`` or ``bf16``.

    Attributes:
        distance: The distance itself, which TIMModel searches with.

    Raises:
        TimError: An unknown name, weights that are not there, or ``soften`` or ``pixels`` below 0.
    """

    def __init__(
        self,
        *,
        loss_weight: float = 1.0,
        backbone: str = "vgg16",
        weights: str = "imagenet",
        calibration: str = "lpips",
        seed: int = 0,
        soften: float = 0.0,
        pixels: float = 0.0,
        precision: str = "fp32",
    ) -> None:
        try:
            distance = PerceptualDistance(
                backbone=backbone,
                weights=weights,
                calibration=calibration,
                seed=seed,
                soften=soften,
                pixels=pixels,
                precision=precision,
            )
        except TimError as error:
            raise TimError(f"perceptual_opt: {error}") from error
        super().__init__(distance, loss_weight)


class PixelDistanceLoss(_DistanceLoss):
    """:class:`tim_plugin.losses.distance.PixelDistance` (mean squared difference) as a loss.

    Args:
        loss_weight: More than 0.

    Raises:
        TimError: A weight that is no positive number.
    """

    def __init__(self, *, loss_weight: float = 1.0) -> None:
        super().__init__(PixelDistance(), loss_weight)
