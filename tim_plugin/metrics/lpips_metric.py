"""LPIPS as a BasicSR metric."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tim_plugin.imle.tensor_checks import HIGHEST, LOWEST
from tim_plugin.losses.distance import PerceptualDistance
from tim_plugin.utils.errors import TimError


def shared_distance(metric: str, backbone: str, weights: str, calibration: str, seed: int) -> PerceptualDistance:
    """Return the distance of a metric, built once; on the GPU where this process already uses one.

    Raises:
        TimError: An unknown name, or weights that are not to be had; ``metric`` is named.
    """
    device = "cuda" if torch.cuda.is_initialized() else "cpu"
    try:
        return _built(str(backbone), str(weights), str(calibration), seed, device)
    except TimError as error:
        raise TimError(f"{metric}: {error}") from error


@lru_cache(maxsize=4)
def _built(backbone: str, weights: str, calibration: str, seed: int, device: str) -> PerceptualDistance:
    return PerceptualDistance(backbone=backbone, weights=weights, calibration=calibration, seed=seed).to(device)


def calculate_lpips(
    img: np.ndarray,
    img2: np.ndarray,
    crop_border: int = 0,
    *,
    backbone: str = "vgg16",
    weights: str = "imagenet",
    calibration: str = "lpips",
    seed: int = 0,
    better: str = "lower",
) -> float:
    """Return the LPIPS distance (Zhang et al. 2018) of two images.

    better: lower; range: 0 (equal) to about 1. It runs on the GPU where this process already uses one.

    Args:
        img: HWC BGR or HW grey, in [0, 255], as BasicSR hands it over.
        img2: The ground truth, an image of the same kind and size.
        crop_border: Pixels cut off at each side.
        backbone: As ``weights``, ``calibration`` and ``seed`` an argument of PerceptualDistance.
        better: Not used here: BasicSR hands over the whole section of the metric, and its validation reads this key.

    Raises:
        ValueError: The images differ in size, or nothing is left of them.
        TimError: What is given is no image in [0, 255]; an unknown name; or weights that are not to be had.
    """
    for name, image in (("img", img), ("img2", img2)):
        check_pixels(f"calculate_lpips: {name}", image)
    if img.shape[:2] != img2.shape[:2]:
        raise ValueError(f"calculate_lpips: the images differ in size: {img.shape[:2]} and {img2.shape[:2]}")
    if min(img.shape[:2]) <= 2 * crop_border:
        raise ValueError(f"calculate_lpips: crop_border {crop_border} leaves nothing of an image of {img.shape[:2]}")
    distance = shared_distance("calculate_lpips", backbone, weights, calibration, seed)
    with torch.no_grad():
        return distance(*(rgb_01(image, crop_border).to(distance.scale.device) for image in (img, img2))).item()


def check_pixels(name: str, image: Any) -> None:
    """Check that an image is as BasicSR has it.

    Raises:
        TimError: It is no array (H, W) or (H, W, C) of numbers in [0, 255].
    """
    if not isinstance(image, np.ndarray) or image.dtype.kind not in "uif":
        found = f"an array of {image.dtype}" if isinstance(image, np.ndarray) else type(image).__name__
        raise TimError(f"{name} is {found}: give a numpy array (H, W, 3), BGR, or (H, W), uint8 from 0 to 255")
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 3)) or image.size == 0:
        raise TimError(f"{name} has shape {image.shape}: it must be (H, W, 3), BGR, or (H, W)")
    low, high = float(image.min()), float(image.max())
    if low < 255 * LOWEST or high > 255 * HIGHEST:
        raise TimError(f"{name} has values from {low:g} to {high:g}: they must lie in [0, 255]")
    if image.dtype.kind == "f" and low >= LOWEST and 0 < high <= 1:
        raise TimError(f"{name} has values up to {high:g}: they must lie in [0, 255], as uint8: multiply by 255")


def rgb_01(image: np.ndarray, border: int = 0) -> Tensor:
    """Return (1, 3, H, W) in [0, 1] of an image as BasicSR has it; a grey image's channel is repeated."""
    height, width = image.shape[:2]
    bgr = image.reshape(height, width, -1)[border : height - border, border : width - border]
    rgb = np.broadcast_to(bgr[..., ::-1], (*bgr.shape[:2], 3)).astype(np.float32) / 255
    return torch.from_numpy(rgb.transpose(2, 0, 1).copy())[None]
