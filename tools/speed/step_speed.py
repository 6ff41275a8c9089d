"""One optimizer step: each way that ``train`` offers against the plain one."""

from __future__ import annotations

from functools import partial
from typing import Any

from basicsr.models.base_model import BaseModel
from torch import nn

from speed.settings import SETTINGS
from speed.steps import model_of
from speed.timing import Comparison, compare
from tim_plugin.utils.memory import peak_bytes

WAYS: dict[str, dict[str, Any]] = {
    "checkpoint_levels": {"checkpoint_levels": True},
    "accumulate 2": {"accumulate": 2},
    "accumulate 4": {"accumulate": 4},
    "fused Adam": {"fused": True},
    "amp bf16": {"amp": "bf16"},
}
ON_GPUS: dict[str, dict[str, Any]] = {
    "compile": {"compile": True},  # on a CPU it compiles for minutes before the first step
    "amp fp16": {"amp": "fp16"},  # which CPUs imitate
}
# Together, against batch 1 in single precision; levels are run again where memory is short, at the cost of time.
COMBINED: dict[str, dict[str, Any]] = {
    "amp bf16, fused Adam": {"amp": "bf16", "fused": True},
    "amp bf16, fused Adam, checkpoint_levels": {"amp": "bf16", "fused": True, "checkpoint_levels": True},
}
COMBINED_ON_GPUS: dict[str, dict[str, Any]] = {
    "amp fp16, fused Adam": {"amp": "fp16", "fused": True},
    "amp bf16, fused Adam, compile": {"amp": "bf16", "fused": True, "compile": True},
}
REACH = 3.0
SAME_LOSS = {"amp bf16": 2e-2, "amp fp16": 2e-2}  # relative; the others
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

    What :data:`COMBINED` puts together is timed against as many examples one by one.

    Args:
        name: A key of :data:`speed.settings.SETTINGS`.
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
    combined = COMBINED if device == "cpu" else COMBINED | COMBINED_ON_GPUS
    return [
        *found,
        _averaging(plain, about, repeats, device),
        *(_together(name, way, train, repeats, device) for way, train in combined.items()),
    ]


def _counted(side: str, model: Any) -> tuple[dict[str, Any], float]:
    """Take two steps; return what the second one did and held, and its loss."""
    model.optimize_parameters(1)  # searches too
    passes = _Passes(model.net_g)
    peak = _peak_of_a_step(model)
    counts = {
        f"{side}, level runs (items)": f"{passes.runs} ({passes.items})",
        f"{side}, most memory beside the model, MB": round(peak / 1e6, 1),
    }
    passes.stop()
    return counts, model.log_dict["l_total"]


def _peak_of_a_step(model: Any) -> int:
    """Bytes beside weights, moments and average."""
    return peak_bytes(partial(model.optimize_parameters, 2), model.device)


def _together(name: str, way: str, train: dict[str, Any], repeats: int, device: str) -> Comparison:
    """Time a step on a batch against as many plain steps on one example: the ratio is that of examples a second."""
    setting = SETTINGS[name]
    single, batched = model_of(setting, 1, device), model_of(setting, BATCH, device, **train)
    beside, whole = [], []
    for model, examples in ((single, 1), (batched, BATCH)):
        model.optimize_parameters(1)  # searches too, and makes the moments
        held = 4 * sum(p.numel() * p.element_size() for p in model.net_g.parameters())  # weights, two moments, average
        peak = _peak_of_a_step(model)
        beside.append(peak / examples / 1e6)
        whole.append((held + peak) / examples / 1e6)

    def one_by_one() -> None:
        for _ in range(BATCH):
            single.optimize_parameters(3)

    return compare(
        "training, examples a second",
        f"{name}, batch {BATCH}, {way}, against fp32 with batch 1",
        (f"{BATCH} steps of 1 example", one_by_one),
        (f"1 step of {BATCH}", partial(batched.optimize_parameters, 3)),
        repeats,
        device,
        bound=(REACH, "to reach with the published network on a GPU"),
        counts={
            f"most memory an example {what}, MB, plain and ours": [round(one, 1) for one in sides]
            for what, sides in (("beside the model", beside), ("with weights, moments and average", whole))
        },
        checks={"memory an example, ours over plain": round(whole[1] / whole[0], 2)},
    )


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
