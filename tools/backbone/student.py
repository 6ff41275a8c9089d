"""The trunk in training, with the weights of its channels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from backbone.crop_versions import PAIRS
from tim_plugin.losses.backbones import HEADS_KEY, TIM_SMALL, TRUNK_KEY
from tim_plugin.losses.distance import PerceptualDistance, layer_distances


class Student(nn.Module):
    """A ``tim_small`` that learns: trunk, and one positive weight a channel of its maps.

    Args:
        seed: Of the first weights.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.measure = PerceptualDistance(backbone=TIM_SMALL, weights="random", calibration="none", seed=seed)
        self.measure.trunk.requires_grad_(True)
        self.log_heads = nn.Parameter(torch.zeros(sum(self.measure.trunk.channels)))

    def activations(self, images: Tensor) -> list[Tensor]:
        """Return what the trunk's mapped layers give for images (N, 3, H, W) in [0, 1]."""
        return self.measure.trunk.activations(self.measure.prepared(images))

    def features(self, images: Tensor) -> list[Tensor]:
        """Return maps of images (N, 3, H, W) in [0, 1] whose squared difference is the distance."""
        roots = (self.log_heads / 2).exp().view(1, -1, 1, 1).split(self.measure.trunk.channels, dim=1)
        return [one * root for one, root in zip(self.measure.features(images), roots, strict=True)]

    def weights(self) -> dict[str, Tensor]:
        """Return the tensors of a weights file of ``tim_small``: the trunk's, and one positive weight a channel."""
        trunk = {f"{TRUNK_KEY}{key}": value for key, value in self.measure.trunk.state_dict().items()}
        return {**trunk, HEADS_KEY: self.log_heads.detach().exp()}


def pair_distances(maps: list[Tensor], versions: int) -> Tensor:
    """Return (L, P N): each layer's distance of all pairs of versions.

    Args:
        maps: (V N, C_l, H_l, W_l), version by version.
        versions: V.
    """
    parts = [one.chunk(versions) for one in maps]
    return torch.cat(
        [layer_distances([part[i] for part in parts], [part[j] for part in parts]) for i, j in PAIRS], dim=1
    )
