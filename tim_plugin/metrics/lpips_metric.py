"""LPIPS as a BasicSR metric."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from tim_plugin.imle.distance import PerceptualDistance


@lru_cache(maxsize=4)
def _distance(**options: Any) -> PerceptualDistance:
    return PerceptualDistance(**options)


def calculate_lpips(
    img: np.ndarray,
    img2: np.ndarray,
    crop_border: int = 0,
    backbone: str = "vgg16",
    weights: str = "imagenet",
    calibration: str = "lpips",
    seed: int = 0,
    **_: Any,
) -> float:
    """Return the LPIPS distance (Zhang et al. 2018) of two images; lower is better.

    Args:
        img: HWC BGR or HW grey, in [0, 255], as BasicSR hands it over.
        img2: The GT, likewise.
        crop_border: Pixels cut off at each side.
        backbone: See :class:`tim_plugin.imle.distance.PerceptualDistance`; likewise ``weights``, ``calibration``, ``seed``.

    Raises:
        ValueError: The images differ in size.
        TimError: The backbone's weights are not to be had.
    """
    if img.shape[:2] != img2.shape[:2]:
        raise ValueError(f"calculate_lpips: image sizes differ: {img.shape[:2]} and {img2.shape[:2]}")
    distance = _distance(backbone=backbone, weights=weights, calibration=calibration, seed=seed)
    with torch.no_grad():
        return float(distance(_tensor(img, crop_border), _tensor(img2, crop_border)))


def _tensor(image: np.ndarray, border: int) -> Tensor:
    """(1, 3, H, W) RGB in [0, 1]."""
    if border:
        image = image[border:-border, border:-border]
    image = np.ascontiguousarray(image, dtype=np.float32) / 255
    rgb = cv2.cvtColor(image, cv2.COLOR_GRAY2RGB if image.ndim == 2 else cv2.COLOR_BGR2RGB)
    return torch.from_numpy(rgb.transpose(2, 0, 1).copy())[None]
