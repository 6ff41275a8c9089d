"""Metrics of all samples of an input together, for ``val: metrics`` of TIMModel.

They are registered with BasicSR, but take ``samples`` where BasicSR's metrics take ``img``: a list of HWC BGR uint8
images. TIMModel's validation hands it over; models that give one image cannot use them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from tim_plugin.losses.distance import PerceptualDistance
from tim_plugin.metrics.lpips_metric import check_pixels, rgb_01, shared_distance
from tim_plugin.metrics.sample_measures import distance_maps, diversity, fwv, space_score
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.metric_names import SPACE_SAMPLES

LEAST_SAMPLES = {"calculate_lpips_diversity": 2, "calculate_fwv": 2, "calculate_s10": SPACE_SAMPLES}


@torch.no_grad()
def calculate_lpips_diversity(
    samples: Sequence[np.ndarray],
    *,
    backbone: str = "vgg16",
    weights: str = "imagenet",
    calibration: str = "lpips",
    seed: int = 0,
    better: str = "higher",
) -> float:
    """Return the mean LPIPS distance between two samples (Zhu et al. 2017; table 4 of the paper).

    better: higher; range: 0 (all alike) to about 1.

    Args:
        samples: At least two, HWC BGR or HW grey, in [0, 255].
        backbone: As ``weights``, ``calibration`` and ``seed`` an argument of PerceptualDistance.
        better: Not used here; validation reads it.

    Raises:
        TimError: One sample only, what is no image in [0, 255] or of another size, an unknown name, or weights that are
            not to be had.
    """
    distance = shared_distance("calculate_lpips_diversity", backbone, weights, calibration, seed)
    return diversity(torch.cat(_images("calculate_lpips_diversity", distance, samples)), distance)


@torch.no_grad()
def calculate_fwv(
    samples: Sequence[np.ndarray],
    img2: np.ndarray,
    *,
    sigma: float = 0.3,
    squared: bool = False,
    reduction: str = "mean",
    backbone: str = "vgg16",
    weights: str = "imagenet",
    calibration: str = "lpips",
    seed: int = 0,
    better: str = "higher",
) -> float:
    """Return the faithfulness-weighted variance of the samples (table 3 of the paper).

    better: higher; see :func:`tim_plugin.metrics.sample_measures.faithfulness_weighted_variance` for its form.

    Args:
        samples: At least two, HWC BGR or HW grey, in [0, 255].
        img2: The ground truth, an image of the same kind.
        sigma: Bandwidth.
        squared: Put the distance to the GT squared into the exponent.
        reduction: Over samples, ``mean`` or ``sum``.
        backbone: As ``weights``, ``calibration`` and ``seed`` an argument of PerceptualDistance.
        better: Not used here; validation reads it.

    Raises:
        TimError: One sample only, what is no image in [0, 255] or of another size, a wrong option, or weights that are
            not to be had.
    """
    distance = shared_distance("calculate_fwv", backbone, weights, calibration, seed)
    gt, *images = _images("calculate_fwv", distance, samples, img2)
    return fwv(torch.cat(images), gt, distance, sigma, squared=squared, reduction=reduction)


@torch.no_grad()
def calculate_s10(
    samples: Sequence[np.ndarray],
    img2: np.ndarray,
    *,
    backbone: str = "alexnet",
    weights: str = "imagenet",
    calibration: str = "lpips",
    seed: int = 0,
    better: str = "higher",
) -> float:
    """Return the score of the first ten samples as in the NTIRE challenges 'learning the super-resolution space'.

    better: higher; range: 0 to 100, see :func:`tim_plugin.metrics.sample_measures.space_score`.

    Args:
        samples: At least ten, HWC BGR or HW grey, in [0, 255].
        img2: The ground truth, an image of the same kind.
        backbone: As ``weights``, ``calibration`` and ``seed`` an argument of PerceptualDistance.
        better: Not used here; validation reads it.

    Raises:
        TimError: Fewer samples, what is no image in [0, 255] or of another size, an unknown name, or weights that are
            not to be had.
    """
    distance = shared_distance("calculate_s10", backbone, weights, calibration, seed)
    gt, *images = _images("calculate_s10", distance, samples[:SPACE_SAMPLES], img2)
    return space_score(distance_maps(distance, torch.cat(images), gt))


def _images(
    metric: str, distance: PerceptualDistance, samples: Sequence[np.ndarray], gt: np.ndarray | None = None
) -> list[Tensor]:
    """Return the GT, if any, and each sample as (1, 3, H, W) in [0, 1], where the distance is.

    Raises:
        TimError: There are too few, they differ in size, or one is no image as BasicSR has it; ``metric`` is named.
    """
    if len(samples) < LEAST_SAMPLES[metric]:
        raise TimError(
            f"{metric}: takes at least {LEAST_SAMPLES[metric]} samples of an image, and there are {len(samples)}"
        )
    named = {"img2": gt} if gt is not None else {}
    named |= {f"samples[{index}]": one for index, one in enumerate(samples)}
    for name, image in named.items():
        check_pixels(f"{metric}: {name}", image)
    sizes = {image.shape[:2] for image in named.values()}
    if len(sizes) > 1:
        raise TimError(f"{metric}: the images differ in size: {' and '.join(map(str, sorted(sizes)))}")
    return [rgb_01(one).to(distance.scale.device) for one in named.values()]
