"""What an output pixel costs, for inputs from small to large: level, if a large one costs no more."""

from __future__ import annotations

from functools import partial

import torch

from paper.run_conditions import using_threads
from speed.backend_speed import both_seconds, draw_samples, smooth
from speed.timing import Comparison, of_pairs, require_repeats
from tim_plugin.degradations.base import Observed
from tim_plugin.inference.arguments import Resources
from tim_plugin.inference.backends import Backends
from tim_plugin.inference.towers import load

TOWER = "sr4x-small"
SIDES = (16, 32, 64, 128, 256, 512)
SMALLEST = 8


def benchmark_sizes(repeats: int = 3) -> list[Comparison]:
    """Time a sample of each size by the package's smallest tower, in processor time of one thread for a megapixel.

    Args:
        repeats: Pairs that are timed: the smallest input, as often as it takes for as many pixels, and the size.
    """
    require_repeats(repeats)
    network = load(TOWER).network
    backends = Backends(network)
    with using_threads(1):
        return [_of_side(backends, network.spec.scale, side, repeats) for side in SIDES]


def _of_side(backends: Backends, scale: int, side: int, repeats: int) -> Comparison:
    costs = []
    for _ in range(repeats):
        # As long as the size itself takes, up to a hundred times, so that neither is a matter of chance.
        times = min(100, (side // SMALLEST) ** 2)
        costs.append((_megapixel(backends, scale, SMALLEST, times), _megapixel(backends, scale, side, 1)))
    return of_pairs(
        "cost of a megapixel of output, processor time",
        f"{TOWER}, torch, {side}x{side} to {side * scale}, 1 sample, against {SMALLEST}x{SMALLEST}",
        (f"{SMALLEST}x{SMALLEST}", f"{side}x{side}"),
        costs,
        bound=(1 / 1.3, "should be at least"),
    )


def _megapixel(backends: Backends, scale: int, side: int, times: int) -> float:
    """Return the processor's seconds for a million pixels, measured on so many samples of one size."""
    plan, _ = backends.plan(side, side, torch.device("cpu"), Resources(backend="torch"), 0)
    draw = partial(draw_samples, Observed(smooth(3, side)), 1, plan.tower, plan.samples_per_batch)
    draw()
    spent = both_seconds(lambda: [draw() for _ in range(times)])[0]
    return spent / times / (side * scale) ** 2 * 1e6
