"""Every name that an option file may use, registered by explicit calls, in one list."""

from __future__ import annotations

from basicsr.utils.registry import (
    ARCH_REGISTRY,
    DATASET_REGISTRY,
    LOSS_REGISTRY,
    METRIC_REGISTRY,
    MODEL_REGISTRY,
    Registry,
)

from tim_plugin.archs.mapping_arch import MappingNetwork
from tim_plugin.archs.tower_arch import TowerGenerator
from tim_plugin.data.degraded_image_dataset import DegradedImageDataset
from tim_plugin.losses.perceptual_loss import PerceptualDistanceLoss, PixelDistanceLoss
from tim_plugin.metrics.lpips_metric import calculate_lpips
from tim_plugin.metrics.several_samples import calculate_fwv, calculate_lpips_diversity, calculate_s10
from tim_plugin.models.tim_model import TIMModel

REGISTERED: tuple[tuple[Registry, object], ...] = (
    (ARCH_REGISTRY, TowerGenerator),
    (ARCH_REGISTRY, MappingNetwork),
    (MODEL_REGISTRY, TIMModel),
    (DATASET_REGISTRY, DegradedImageDataset),
    (LOSS_REGISTRY, PerceptualDistanceLoss),
    (LOSS_REGISTRY, PixelDistanceLoss),
    (METRIC_REGISTRY, calculate_lpips),
    (METRIC_REGISTRY, calculate_lpips_diversity),
    (METRIC_REGISTRY, calculate_fwv),
    (METRIC_REGISTRY, calculate_s10),
)


def register_all() -> None:
    """Put every entry of :data:`REGISTERED` into its registry; a second call changes nothing.

    Raises:
        RuntimeError: Another package registered something else under one of the names.
    """
    for registry, entry in REGISTERED:
        name = entry.__name__
        if name not in registry:
            registry.register(entry)
        elif registry.get(name) is not entry:
            raise RuntimeError(
                f"'{name}' is already in BasicSR's {registry._name} registry and is not tim_plugin's: "
                "another plugin of this environment uses the same name"
            )
