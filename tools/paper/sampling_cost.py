"""What a sample costs: evaluations of the network, multiplications, seconds; and the parameters that it takes."""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tim_plugin.degradations.base import Observed
from tim_plugin.imle.latents import Latents
from tim_plugin.imle.pyramid import condition_pyramid
from tim_plugin.inference.image_samples import sample_image

SAMPLES, REPEATS = 8, 3  # that are timed, and how often; the median counts
TRAINED_WITH = "critic."  # parameters that no sample needs


def sampling_cost(network: nn.Module, observed: Observed) -> dict[str, Any]:
    """Return what one sample of an input costs.

    Args:
        network: In eval mode.
        observed: An input, a batch of one on the network's device.

    Returns:
        ``evaluations`` of the network, ``multiplications`` of its convolutions and matrix products, ``seconds`` (of
        one thread's processor time on a CPU, else of the clock) of a sample among :data:`SAMPLES`, finished as it is
        saved, and ``parameters``.
    """
    return {
        "evaluations": getattr(network, "evaluations", 1),
        "multiplications": _multiplications(network, observed),
        "seconds": _seconds(network, observed),
        "parameters": parameters_of(network),
    }


def parameters_of(network: nn.Module) -> int:
    """Return how many parameters a sample takes: without those of a critic."""
    return sum(one.numel() for name, one in network.named_parameters() if not name.startswith(TRAINED_WITH))


@torch.no_grad()
def _multiplications(network: nn.Module, observed: Observed) -> int:
    generator = torch.Generator(observed.lq.device).manual_seed(0)
    with FlopCounterMode(display=False) as counter:
        if hasattr(network, "forward_level"):
            latents = Latents.draw(network.latent_shapes(*_coarsest(network, observed)), 1, generator)
            network(condition_pyramid(observed, network.spec, network.degradation), latents)
        elif hasattr(network, "sample"):
            network.sample(observed.lq, [generator])
        else:
            network(observed.lq)
    return counter.get_total_flops() // 2  # it counts additions too


def _coarsest(network: nn.Module, observed: Observed) -> tuple[int, ...]:
    conditions = condition_pyramid(observed, network.spec, network.degradation)
    return tuple(conditions[0].image.shape[-2:])


def _seconds(network: nn.Module, observed: Observed) -> float:
    on_cpu, threads, times = observed.lq.device.type == "cpu", torch.get_num_threads(), []
    clock = time.process_time if on_cpu else time.perf_counter
    try:
        if on_cpu:
            torch.set_num_threads(1)  # several wait for each other busily, which counts as work
        for _ in range(REPEATS):
            started = clock()
            sample_image(network, observed, SAMPLES, 0, 0, max_samples_per_batch=SAMPLES)  # ends on the CPU
            times.append(clock() - started)
    finally:
        torch.set_num_threads(threads)
    return statistics.median(times) / SAMPLES
