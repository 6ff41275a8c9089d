"""Our keys of the ``train`` section: how an optimizer step is computed, which no result should depend on; no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tim_plugin.options.specs import field_names
from tim_plugin.options.values import require_bool, require_choice, require_number
from tim_plugin.utils.errors import TimError

PRECISIONS = ("off", "bf16", "fp16")
FUSED_OPTIMIZERS = ("Adam", "AdamW", "SGD")


@dataclass(frozen=True, kw_only=True)
class TrainSpec:
    """How steps are taken: precision, parts of a batch, and what saves memory or time.

    Attributes:
        amp: ``off``; or the network in half precision (weights, losses, projection and optimizer stay in single):
            ``bf16``, or ``fp16`` with a loss scale.
        accumulate: Parts that a batch is split into; the gradients are those of the whole.
        clip_grad_norm: Largest norm of the gradient; None does not clip.
        checkpoint_levels: Keep only what goes in and out of each level, and run it again in the backward pass.
        compile: Compile each level for training.
        fsdp: Divide weights, gradients, optimizer and EMA over the processes, level by level; they are built whole.

    Raises:
        TimError: A value is outside what it may be, or two do not go together.
    """

    amp: str = "off"
    accumulate: int = 1
    clip_grad_norm: float | None = None
    checkpoint_levels: bool = False
    compile: bool = False
    fsdp: bool = False

    def __post_init__(self) -> None:
        if self.amp is False:  # YAML 1.1 reads a bare `off` as false
            object.__setattr__(self, "amp", "off")
        require_choice("train: amp", self.amp, PRECISIONS)
        require_number("train: accumulate", self.accumulate, int, minimum=1)
        for name in ("checkpoint_levels", "compile", "fsdp"):
            require_bool(f"train: {name}", getattr(self, name))
        if self.clip_grad_norm is not None:
            require_number("train: clip_grad_norm", self.clip_grad_norm, float, minimum=0)
            if self.clip_grad_norm == 0:
                raise TimError("train: clip_grad_norm 0 would stop all learning: use a number above 0, or ~ for none")
        if self.fsdp and self.amp == "fp16":
            raise TimError("train: fsdp has no loss scale, which amp: fp16 needs: use amp: bf16")
        if self.fsdp and self.compile:
            raise TimError("train: fsdp does not go with compile: use one of them")

    @classmethod
    def from_options(cls, section: Mapping[str, Any] | None) -> TrainSpec:
        """Pick our keys out of BasicSR's ``train`` section."""
        names = field_names(cls)
        return cls(**{key: value for key, value in (section or {}).items() if key in names})


def check_steps(train: Mapping[str, Any], batch_size: Any) -> None:
    """Check our keys of ``train`` against each other, the optimizer and the batch.

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
    for key in ("fused", "foreach"):
        if optimizer.get(key) is not None:
            require_bool(f"train: optim_g: {key}", optimizer[key])
    if optimizer.get("fused"):
        if optimizer.get("type") not in FUSED_OPTIMIZERS:
            raise TimError(
                f"train: optim_g: fused: {optimizer.get('type')} has no fused form, {', '.join(FUSED_OPTIMIZERS)} have"
            )
        if optimizer.get("foreach"):
            raise TimError("train: optim_g: fused and foreach are two ways to do one thing: use one of them")
