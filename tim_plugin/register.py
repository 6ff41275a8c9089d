"""Every name that an option file may use, in one list, registered by explicit calls when this module is imported."""

from __future__ import annotations

from basicsr.utils.registry import (
    ARCH_REGISTRY,
    DATASET_REGISTRY,
    LOSS_REGISTRY,
    METRIC_REGISTRY,
    MODEL_REGISTRY,
    Registry,
)

from tim_plugin.archs.conditional_arch import RegressionUNet
from tim_plugin.archs.crn_arch import CRN, CRNGenerator
from tim_plugin.archs.dncnn_arch import DnCNN
from tim_plugin.archs.edm_arch import ConditionalEDM
from tim_plugin.archs.flow_arch import RectifiedFlow
from tim_plugin.archs.iizuka_arch import Iizuka2016
from tim_plugin.archs.larsson_arch import Larsson2016
from tim_plugin.archs.mapping_arch import MappingNetwork
from tim_plugin.archs.rcgan_arch import RcGAN
from tim_plugin.archs.reference_archs import BicubicUpsampler, RepeatedRRDBNet
from tim_plugin.archs.rfb_esrgan_arch import RFBESRGAN
from tim_plugin.archs.stacked_arch import StackedGenerator
from tim_plugin.archs.tower_arch import TowerGenerator
from tim_plugin.archs.zhang_arch import Zhang2016
from tim_plugin.data.degraded_image_dataset import DegradedImageDataset
from tim_plugin.losses.perceptual_loss import PerceptualDistanceLoss, PixelDistanceLoss
from tim_plugin.metrics.lpips_metric import calculate_lpips
from tim_plugin.metrics.several_samples import calculate_fwv, calculate_lpips_diversity, calculate_s10
from tim_plugin.models.baseline_model import BaselineModel
from tim_plugin.models.energy_score_model import EnergyScoreModel
from tim_plugin.models.tim_model import TIMModel

REGISTERED: tuple[tuple[Registry, object], ...] = (
    (ARCH_REGISTRY, TowerGenerator),
    (ARCH_REGISTRY, MappingNetwork),
    (ARCH_REGISTRY, StackedGenerator),
    (ARCH_REGISTRY, CRNGenerator),
    (ARCH_REGISTRY, CRN),
    (ARCH_REGISTRY, RFBESRGAN),
    (ARCH_REGISTRY, RepeatedRRDBNet),
    (ARCH_REGISTRY, BicubicUpsampler),
    (ARCH_REGISTRY, DnCNN),
    (ARCH_REGISTRY, Zhang2016),
    (ARCH_REGISTRY, Iizuka2016),
    (ARCH_REGISTRY, Larsson2016),
    (ARCH_REGISTRY, RegressionUNet),
    (ARCH_REGISTRY, RectifiedFlow),
    (ARCH_REGISTRY, ConditionalEDM),
    (ARCH_REGISTRY, RcGAN),
    (MODEL_REGISTRY, TIMModel),
    (MODEL_REGISTRY, BaselineModel),
    (MODEL_REGISTRY, EnergyScoreModel),
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


register_all()
