"""The ``train`` section as BasicSR's loop and our models read it: optimizer, schedule, losses; no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from tim_plugin.options.schema import DistanceSpec, PixelSpec, TrainSpec
from tim_plugin.options.values import Section, basicsr, option


@dataclass(frozen=True, kw_only=True)
class OptimizerSection(Section):
    """The optimizer: its type and its arguments."""

    needed: ClassVar[tuple[str, ...]] = ("type", "lr")

    type: Literal["Adam", "AdamW", "SGD", "Adadelta"] | None = basicsr(
        "Adam; BaselineModel also knows AdamW, SGD and Adadelta."
    )
    lr: float | None = basicsr("Learning rate.", least=0, most=1000)
    betas: tuple[float, float] | None = basicsr("Of Adam and AdamW.", least=0, below=1)
    eps: float | None = basicsr("Of Adam, AdamW and Adadelta.", above=0, most=1)
    weight_decay: float | None = basicsr("Weight decay.", least=0, most=1000)
    amsgrad: bool | None = basicsr("Of Adam and AdamW.")
    fused: bool | None = basicsr("One kernel for all parameters (Adam, AdamW, SGD).")
    foreach: bool | None = basicsr("One call for all parameters.")
    momentum: float | None = basicsr("Of SGD.", least=0, below=1)
    nesterov: bool | None = basicsr("Of SGD with momentum.")
    rho: float | None = basicsr("Of Adadelta.", least=0, most=1)
    mapping_lr_mult: float = option(
        0.01,
        "Learning rate of the mapping networks over that of the rest (TIMModel, EnergyScoreModel).",
        least=0,
        most=1000,
    )


@dataclass(frozen=True, kw_only=True)
class MultiStepSection(Section):
    """A rate that falls at milestones."""

    needed: ClassVar[tuple[str, ...]] = ("milestones",)

    milestones: tuple[float, ...] | None = basicsr(
        "Iterations at which the rate is multiplied by gamma.", least=1, whole=True
    )
    gamma: float | None = basicsr("Factor of the rate at a milestone.", above=0, most=10)
    restarts: tuple[float, ...] | None = basicsr("Iterations at which it begins anew.", least=0, whole=True)
    restart_weights: tuple[float, ...] | None = basicsr("Factor of the first rate at each restart.", above=0, most=1000)


@dataclass(frozen=True, kw_only=True)
class CosineSection(Section):
    """A rate that falls as a cosine does, and begins anew."""

    needed: ClassVar[tuple[str, ...]] = ("periods",)

    periods: tuple[float, ...] | None = basicsr("Iterations of each fall, together all.", least=1, whole=True)
    restart_weights: tuple[float, ...] | None = basicsr("Factor of the first rate in each period.", above=0, most=1000)
    eta_min: float | None = basicsr("Smallest rate.", least=0, most=1000)


SCHEDULERS = {
    "MultiStepLR": MultiStepSection,
    "MultiStepRestartLR": MultiStepSection,
    "CosineAnnealingRestartLR": CosineSection,
}


@dataclass(frozen=True, kw_only=True)
class PixelLossSection(Section):
    """A loss of pixels of BasicSR's."""

    loss_weight: float | None = basicsr("Weight of the loss.", above=0, most=1_000_000)
    reduction: Literal["mean", "sum"] | None = basicsr("Over pixels.")


@dataclass(frozen=True, kw_only=True)
class CharbonnierSection(PixelLossSection):
    """Charbonnier's loss of pixels."""

    eps: float | None = basicsr("Added to the squared difference.", above=0, most=1)


PIXEL_LOSSES = {"L1Loss": PixelLossSection, "MSELoss": PixelLossSection, "CharbonnierLoss": CharbonnierSection}


@dataclass(frozen=True, kw_only=True)
class TrainSection(TrainSpec):
    """Training: optimizer, length, losses, and how a step is computed."""

    needed: ClassVar[tuple[str, ...]] = ("optim_g", "scheduler", "total_iter")

    ema_decay: float | None = basicsr("Decay of the moving average of the weights; 0 keeps none.", least=0, below=1)
    optim_g: OptimizerSection | None = basicsr("The optimizer.")
    scheduler: Mapping[str, Any] | None = basicsr(
        "How the learning rate changes: its `type` and its arguments.", by_type=SCHEDULERS, is_closed=True
    )
    total_iter: float | None = basicsr("Iterations, each one optimizer step.", least=1, whole=True)
    warmup_iter: float | None = basicsr("Iterations in which the rate grows from 0; -1 for none.", least=-1, whole=True)
    perceptual_opt: Mapping[str, Any] | None = basicsr(
        "The distance that TIMModel searches with and trains on; what EnergyScoreModel trains on; a loss of "
        "BaselineModel.",
        by_type={"PerceptualDistanceLoss": DistanceSpec, "PixelDistanceLoss": PixelSpec},
    )
    pixel_opt: Mapping[str, Any] | None = basicsr("A loss of pixels (BaselineModel only).", by_type=PIXEL_LOSSES)
