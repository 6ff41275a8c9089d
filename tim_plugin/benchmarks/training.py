"""One optimizer step: each way that ``train`` offers against the plain one."""

from __future__ import annotations

from functools import partial
from typing import Any

from basicsr.models.base_model import BaseModel
from torch import nn

from tim_plugin.benchmarks.settings import SETTINGS
from tim_plugin.benchmarks.steps import model_of
from tim_plugin.benchmarks.timing import Comparison, compare
from tim_plugin.imle.live_memory import peak_bytes

WAYS: dict[str, dict[str, Any]] = {
    "checkpoint_levels": {"checkpoint_levels": True},
    "accumulate 2": {"accumulate": 2},
    "accumulate 4": {"accumulate": 4},
    "fused Adam": {"fused": True},
    "amp bf16": {"amp": "bf16"},
}
ON_GPUS = {"compile": {"compile": True}}  # on a CPU it compiles for minutes before the first step
SAME_LOSS = {"amp bf16": 2e-2}  # relative; the others
EXACT = 1e-4
BATCH = 4
EMA_REPEATS = 20  # one averaging is too short to time


class _Passes:
    """Counts how often a level runs, forward, and how many items it runs on."""

    def __init__(self, network: nn.Module) -> None:
        self.runs = self.items = 0
        self._hooks = [level.register_forward_pre_hook(self._count) for level in network.levels]

    def stop(self) -> None:
        """Count no more."""
        for hook in self._hooks:
            hook.remove()

    def _count(self, module: nn.Module, arguments: tuple[Any, ...]) -> None:
        images, *_ = arguments
        self.runs, self.items = self.runs + 1, self.items + len(images[0])


def benchmark_training(name: str, repeats: int = 5, device: str = "cpu") -> list[Comparison]:
    """Time a step in each way of :data:`WAYS` against the plain one, and the average of weights against BasicSR's loop.

    Args:
        name: A key of :data:`tim_plugin.benchmarks.settings.SETTINGS`.
        repeats: Pairs that are timed.
        device: ``cpu`` or ``cuda``.
    """
    setting = SETTINGS[name]
    plain = model_of(setting, BATCH, device)
    about = f"{name}, {sum(p.numel() for p in plain.net_g.parameters()) / 1e6:.2f} M parameters, batch {BATCH}"
    plain_counts, plain_loss = _counted("plain", plain)
    found = []
    for way, train in (WAYS if device == "cpu" else WAYS | ON_GPUS).items():
        model = model_of(setting, BATCH, device, **train)
        counts, loss = _counted(way, model)
        found.append(
            compare(
                "training",
                f"{about}, {way}",
                ("plain step", partial(plain.optimize_parameters, 3)),
                (way, partial(model.optimize_parameters, 3)),
                repeats,
                device,
                counts=plain_counts | counts,
                checks={"same loss": abs(loss / plain_loss - 1) < SAME_LOSS.get(way, EXACT)},
            )
        )
    return [*found, _averaging(plain, about, repeats, device)]


def _counted(side: str, model: Any) -> tuple[dict[str, Any], float]:
    """Take two steps; return what the second one did and held, and its loss."""
    model.optimize_parameters(1)  # searches too
    passes = _Passes(model.net_g)
    peak = peak_bytes(partial(model.optimize_parameters, 2), model.device)
    counts = {
        f"{side}, level runs (items)": f"{passes.runs} ({passes.items})",
        f"{side}, most memory beside the model, MB": round(peak / 1e6, 1),
    }
    passes.stop()
    return counts, model.log_dict["l_total"]


def _averaging(model: Any, about: str, repeats: int, device: str) -> Comparison:
    def times(average: Any) -> None:
        for _ in range(EMA_REPEATS):
            average(0.999)

    tensors = len(list(model.net_g.parameters()))
    return compare(
        "training",
        f"{about}, moving average of the weights, {EMA_REPEATS} times",
        ("BasicSR's loop", partial(times, partial(BaseModel.model_ema, model))),
        ("ours", partial(times, model.model_ema)),
        repeats,
        device,
        counts={"BasicSR's loop, calls": 2 * tensors, "ours, calls": 1},
    )
