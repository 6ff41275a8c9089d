"""Networks whose features sets of images are compared by, as torch-fidelity wants them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch_fidelity.feature_extractor_base import FeatureExtractorBase

from tim_plugin.losses.backbones import Trunk
from tim_plugin.metrics.efficientnet_lite import CLASSIFIER, FEATURES, SIDE_PX, EfficientNetLite0
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.tensor_files import read_tensors

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, what torchvision's networks read
SMALLEST_SIDE_PX = 64  # smaller images are enlarged: below, the last map has hardly a position


class _AveragedMap(FeatureExtractorBase):
    """A network whose last map, averaged over positions, is what torch-fidelity compares."""

    LAYER: str

    @classmethod
    def get_provided_features_list(cls) -> tuple[str, ...]:
        """Return the names of the features there are."""
        return (cls.LAYER,)

    @classmethod
    def get_default_feature_layer_for_metric(cls, metric: str) -> str:
        """Return the features that a metric is measured on."""
        return cls.LAYER

    @staticmethod
    def can_be_compiled() -> bool:
        """Tell torch-fidelity to leave the network as it is."""
        return False

    @staticmethod
    def get_dummy_input_for_compile() -> Tensor:
        """Return an input of the right kind."""
        return torch.zeros(1, 3, SMALLEST_SIDE_PX, SMALLEST_SIDE_PX, dtype=torch.uint8)


class SqueezeNetFeatures(_AveragedMap):
    """The last map of SqueezeNet 1.1, averaged over positions; registered with torch-fidelity as ``tim-squeezenet``.

    Args:
        name: As registered.
        features_list: ``["512"]``.
        feature_extractor_weights_path: torchvision's state dict; None takes (and may download) torchvision's own file.
        kwargs: torch-fidelity's other options, which do not matter here.

    Raises:
        TimError: The weights are not to be had, or do not fit.
    """

    LAYER = "512"

    def __init__(
        self, name: str, features_list: list[str], feature_extractor_weights_path: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(name, features_list)
        self.trunk = Trunk("squeezenet1_1", feature_extractor_weights_path or "imagenet")
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False)
        self.eval()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return ((N, 512),) of uint8 images (N, 3, H, W)."""
        images = x.to(self.mean.dtype) / 255
        short = min(images.shape[-2:])
        if short < SMALLEST_SIDE_PX:
            size = [max(round(side * SMALLEST_SIDE_PX / short), SMALLEST_SIDE_PX) for side in images.shape[-2:]]
            images = F.interpolate(images, size, mode="bilinear", align_corners=False)
        return (self.trunk((images - self.mean) / self.std)[-1].mean(dim=(2, 3)),)


class EfficientNetFeatures(_AveragedMap):
    """The last map of EfficientNet-Lite0, averaged over positions; registered as ``tim-efficientnet-lite0``.

    Args:
        name: As registered.
        features_list: ``["1280"]``.
        feature_extractor_weights_path: State dict of :class:`tim_plugin.metrics.efficientnet_lite.EfficientNetLite0`,
            with or without its classifier.
        kwargs: torch-fidelity's other options, which do not matter here.

    Raises:
        TimError: The weights do not fit.
    """

    LAYER = str(FEATURES)

    def __init__(self, name: str, features_list: list[str], feature_extractor_weights_path: str, **kwargs: Any) -> None:
        super().__init__(name, features_list)
        with torch.device("meta"):  # draws no weights, which the file's replace
            self.network = EfficientNetLite0()
        state = read_tensors(Path(feature_extractor_weights_path))
        try:
            state = {key: one for key, one in state.items() if not key.startswith(CLASSIFIER)}
            self.network.load_state_dict(state, assign=True)
        except RuntimeError as error:
            raise TimError(
                f"{feature_extractor_weights_path}: does not fit EfficientNet-Lite0 ({str(error).splitlines()[-1]})"
            ) from error
        self.requires_grad_(False)
        self.eval()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return ((N, 1280),) of uint8 images (N, 3, H, W), each as a whole brought to the network's size."""
        levels = x.to(self.network._conv_stem.weight.dtype)
        levels = F.interpolate(levels, (SIDE_PX, SIDE_PX), mode="bilinear", align_corners=False, antialias=True)
        return (self.network(levels.contiguous(memory_format=torch.channels_last)).mean(dim=(2, 3)),)
