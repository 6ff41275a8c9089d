"""Checks across the keys of ``train``: schedule and length, optimizer and model, how a step is computed; no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tim_plugin.options.plain_checks import check_keys, require_choice, section_of
from tim_plugin.options.schema import TrainSpec
from tim_plugin.utils.errors import TimError

TOWER_MODELS = ("TIMModel", "EnergyScoreModel")  # whose mapping networks have a rate of their own
FUSED_OPTIMIZERS = ("Adam", "AdamW", "SGD")
_ADAM = {"betas", "eps", "weight_decay", "amsgrad", "fused", "foreach"}
OPTIMIZERS = {
    "Adam": _ADAM,
    "AdamW": _ADAM,
    "SGD": {"momentum", "nesterov", "weight_decay", "fused", "foreach"},
    "Adadelta": {"rho", "eps", "weight_decay", "foreach"},
}


def check_steps(train: Mapping[str, Any], batch_size: Any) -> None:
    """Check how a step is computed against the optimizer and the batch.

    Args:
        train: The section.
        batch_size: ``batch_size_per_gpu``.

    Raises:
        TimError: For the first thing that is wrong.
    """
    spec, optimizer = TrainSpec.from_options(train), train.get("optim_g") or {}
    if isinstance(batch_size, int) and spec.accumulate > max(batch_size, 1):  # the data set's own check names the rest
        raise TimError(
            f"train: accumulate {spec.accumulate} splits a batch of batch_size_per_gpu {batch_size}: "
            f"use accumulate: {batch_size} at most, or a larger batch"
        )
    if optimizer.get("fused"):
        if optimizer.get("type") not in FUSED_OPTIMIZERS:
            raise TimError(
                f"train: optim_g: fused: {optimizer.get('type')} has no fused form, {', '.join(FUSED_OPTIMIZERS)} have"
            )
        if optimizer.get("foreach"):
            raise TimError("train: optim_g: fused and foreach are two ways to do one thing: use one of them")


def check_optimizer(train: Mapping[str, Any], model: str) -> None:
    """Check the optimizer's type against the model, and its arguments against its type.

    Raises:
        TimError: For the first thing that is wrong.
    """
    section = section_of(train, "optim_g")
    kind = section["type"]
    if model != "BaselineModel":
        require_choice(f"train: optim_g: type of {model}", kind, ("Adam",))
    own = {"type", "lr"} | ({"mapping_lr_mult"} if model in TOWER_MODELS else set())
    given = {key: value for key, value in section.items() if value is not None}
    check_keys(f"train: optim_g: {kind}", given, OPTIMIZERS[kind] | own)
    if section.get("nesterov") and not section.get("momentum"):
        raise TimError("train: optim_g: nesterov needs a momentum above 0")


def check_schedule(train: Mapping[str, Any]) -> None:
    """Check the lists of the scheduler against each other, the length of the training and the warm-up.

    Raises:
        TimError: For the first thing that is wrong.
    """
    section, total = section_of(train, "scheduler"), train["total_iter"]
    kind, weights = section["type"], section.get("restart_weights") or (1,)
    cosine = kind == "CosineAnnealingRestartLR"
    parts, name = (section["periods"], "periods") if cosine else (section.get("restarts") or (0,), "restarts")
    if len(parts) != len(weights):
        raise TimError(
            f"train: scheduler: {name} has {len(parts)} entries and restart_weights {len(weights)} (1 if left out): "
            "give one weight for each"
        )
    if cosine:
        if sum(parts) < total:
            raise TimError(
                f"train: scheduler: periods cover {sum(parts):g} iterations, and train: total_iter is {total:g}: "
                "give longer periods, or a further one"
            )
        return
    warm_up = train.get("warmup_iter") or -1
    early = [step for step in (*section["milestones"], *(section.get("restarts") or ())) if 0 < step < warm_up]
    if early:
        raise TimError(
            f"train: scheduler: the rate would change at {early[0]:g}, within the warm-up, which ends at warmup_iter "
            f"{warm_up:g}: use a shorter warm-up, or later milestones"
        )
