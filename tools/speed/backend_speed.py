"""Sampling by each installed engine against torch, in processor time and in wall time, alternated in one process."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from paper.run_conditions import using_threads
from speed.timing import Comparison, of_pairs, require_repeats
from tim_plugin.degradations.base import Observed
from tim_plugin.inference.arguments import Resources
from tim_plugin.inference.backends import Backends
from tim_plugin.inference.engines import installed, named_with_version
from tim_plugin.inference.image_samples import sample_image
from tim_plugin.inference.towers import load
from tim_plugin.utils.errors import TimError

CASES = (  # a tower, the side of its input, samples
    ("sr16x-small", 16, 8),
    ("sr16x-small", 64, 1),
    ("mnist-pca", 32, 8),
    ("colorize-small", 64, 1),
)
THREADS = (1, 2)
MEMORY_GIB = 16.0


def benchmark_backends(repeats: int = 5) -> list[Comparison]:
    """Time :func:`tim_plugin.inference.image_samples.sample_image` of the package's towers by every backend.

    Args:
        repeats: Pairs that are timed.

    Raises:
        TimError: No engine is installed.
    """
    require_repeats(repeats)
    if not installed():
        raise TimError("backends: no engine is installed: pip install 'tim_plugin[onnxruntime,openvino]'")
    found = []
    for threads in THREADS:
        with using_threads(threads):
            for case in CASES:
                found += _of_case(*case, threads, repeats)
    return found


def _of_case(name: str, side: int, count: int, threads: int, repeats: int) -> list[Comparison]:
    network = load(name).network
    lq = Observed(smooth(network.spec.num_in_ch, side))
    draw, backends = partial(draw_samples, lq, count), Backends(network)
    found = []
    for engine in installed():
        resources = Resources(backend=engine, memory_gib=MEMORY_GIB)
        plan, _ = backends.plan(side, side, torch.device("cpu"), resources, 0)
        plain, ours = (partial(draw, tower, plan.samples_per_batch) for tower in (network, plan.tower))
        most = float((plain() - ours()).abs().max())
        pairs = [(both_seconds(plain), both_seconds(ours)) for _ in range(repeats)]
        for kind, what in enumerate(("processor time", "wall time")):
            found.append(
                of_pairs(
                    f"backends, {what}",
                    f"{name}, {side}x{side}, {count} sample(s), {threads} thread(s)",
                    (named_with_version("torch"), named_with_version(engine)),
                    [(before[kind], after[kind]) for before, after in pairs],
                    checks={"largest difference in steps of 1/255": round(most * 255)},
                )
            )
    return found


def smooth(channels: int, side: int) -> Tensor:
    """Return an LQ that samples agree with after a few rounds of saving, as with those of photographs."""
    coarse = torch.rand(1, channels, 4, 4, generator=torch.Generator().manual_seed(0)) * 0.6 + 0.2
    return F.interpolate(coarse, (side, side), mode="bilinear").mul(255).round().div(255)


def draw_samples(lq: Observed, count: int, tower: torch.nn.Module, at_once: int) -> Tensor:
    """Return samples of an LQ."""
    return sample_image(tower, lq, count, 0, "x", None, at_once)


def both_seconds(function: Callable[[], Tensor]) -> tuple[float, float]:
    """Return the processor's and the wall's seconds of a call."""
    started = time.process_time(), time.perf_counter()
    function()
    return time.process_time() - started[0], time.perf_counter() - started[1]
