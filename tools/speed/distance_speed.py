"""A distance and its gradient, which most of a training's time goes into, with the backbone in bf16 against fp32."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from paper.run_conditions import using_threads
from speed.backend_speed import both_seconds
from speed.timing import Comparison, of_pairs, require_repeats
from tim_plugin.losses.distance import PerceptualDistance

BACKBONES = ("vgg16", "squeezenet1_1", "tim_small")
IMAGES, SIDE = 4, 96  # of a training's batch
SAME_DISTANCE = 1e-2  # relative
AT_ONCE = 3  # so that one run is long enough


def benchmark_distance(repeats: int = 5) -> list[Comparison]:
    """Time each backbone, with random weights, in processor time of one thread.

    Args:
        repeats: Pairs that are timed.
    """
    require_repeats(repeats)
    with using_threads(1):
        return [_of_backbone(name, repeats) for name in BACKBONES]


def _of_backbone(name: str, repeats: int) -> Comparison:
    generator = torch.Generator().manual_seed(0)
    image, target = (torch.rand(IMAGES, 3, SIDE, SIDE, generator=generator) for _ in range(2))
    steps, found = {}, {}
    for precision in ("fp32", "bf16"):
        distance = PerceptualDistance(name, weights="random", calibration="none", precision=precision)
        steps[precision] = partial(_steps, distance, image.clone().requires_grad_(), distance.features(target))
        found[precision] = steps[precision]()
    pairs = [tuple(both_seconds(step)[0] for step in steps.values()) for _ in range(repeats)]
    off = float((found["bf16"] / found["fp32"] - 1).abs().max())
    return of_pairs(
        "distance and gradient, processor time",
        f"{name}, {IMAGES} images of {SIDE}x{SIDE}, backbone in bf16, one thread",
        tuple(steps),
        pairs,
        checks={"same distance": off < SAME_DISTANCE, "relative difference": f"{off:.1e}"},
    )


def _steps(distance: PerceptualDistance, image: Tensor, target: list[Tensor]) -> Tensor:
    """Take the gradient as often as makes a run long enough; return the distance (N,)."""
    for _ in range(AT_ONCE):
        image.grad = None
        found = distance.distance(distance.features(image), target)
        found.sum().backward()
    return found.detach()
