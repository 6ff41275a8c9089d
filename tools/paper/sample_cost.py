"""What one sample costs a network: evaluations, multiplications, and seconds."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from paper.run_conditions import using_threads
from tim_plugin.archs.folded import folded
from tim_plugin.degradations.base import Observed
from tim_plugin.inference.image_samples import sample_image
from tim_plugin.utils.trees import move

AT_ONCE, REPEATS = 8, 3
TRAINED_WITH = "critic."  # parameters that no sample needs
HEADER = ("parameters", "million multiplications a sample", "ms a sample")
ABOUT = (
    "Multiplications are those of convolutions and dense layers; a sample's time is one thread's, "
    f"{AT_ONCE} samples at once where a network gives several (on a GPU wall-clock time)."
)


@torch.no_grad()
def sample_cost(network: nn.Module, item: Mapping[str, Any], device: torch.device | str = "cpu") -> dict[str, float]:
    """Return ``evaluations`` of the network, ``multiplications`` and ``seconds`` of one sample.

    Args:
        network: In eval mode, on the device.
        item: Of a data set, with ``lq`` and maybe ``given``.
        device: Where.
    """
    item = torch.utils.data.default_collate([{"lq": item["lq"], "given": item.get("given", {})}])
    observed = move(Observed(item["lq"], item["given"]), device)
    counted = multiplications(network, lambda: sample_image(network, observed, 1, 0, 0))
    faster, several = folded(network), hasattr(network, "forward_level") or hasattr(network, "sample")
    clock, times = time.process_time if torch.device(device).type == "cpu" else _synchronised, []
    with using_threads(1):
        for _ in range(1 + REPEATS):
            start = clock()
            sample_image(faster, observed, AT_ONCE, 0, 0, max_samples_per_batch=AT_ONCE)
            times.append((clock() - start) / (AT_ONCE if several else 1))
    return {
        "evaluations": getattr(network, "evaluations", 1),
        "multiplications": counted,
        "seconds": statistics.median(times[1:]),
    }


def parameters_of(network: nn.Module) -> int:
    """Return how many parameters a sample takes: without those of a critic."""
    return sum(one.numel() for name, one in network.named_parameters() if not name.startswith(TRAINED_WITH))


def multiplications(network: nn.Module, call: Callable[[], Any]) -> int:
    """Return the multiplications of the network's layers that a call runs.

    What a layer computes more than once for one output, so that it does not depend on the batch, counts once.
    """
    found: list[int] = []

    def count(layer: nn.Module, given: tuple[Tensor, ...], made: Tensor) -> None:
        transposed = isinstance(layer, nn.ConvTranspose2d)
        found.append((given[0] if transposed else made).numel() * layer.weight[0].numel())

    layers = [one for one in network.modules() if isinstance(one, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)]
    hooks = [one.register_forward_hook(count) for one in layers]
    try:
        call()
    finally:
        for hook in hooks:
            hook.remove()
    return sum(found)


def cost_cells(row: Mapping[str, Any]) -> list[str]:
    """Return a table's cells for :data:`HEADER`; rows of before a sample's cost was measured have parameters alone."""
    cost: Mapping[str, float] = row.get("cost") or {}
    shown = [f"{cost['multiplications'] / 1e6:,.1f}", f"{1000 * cost['seconds']:.2f}"] if cost else ["-", "-"]
    return [f"{row['parameters']:,}", *shown]


def _synchronised() -> float:
    torch.cuda.synchronize()
    return time.perf_counter()
