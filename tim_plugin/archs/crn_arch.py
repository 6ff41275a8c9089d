"""Cascaded refinement networks (Chen and Koltun 2017); with a noise encoder, conditional IMLE (Li et al. 2020)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tim_plugin.archs.heads import at_least_single, at_multiples
from tim_plugin.archs.levels import all_levels
from tim_plugin.archs.stacked_arch import StackSpec
from tim_plugin.degradations.table import build_for_tower
from tim_plugin.imle.latents import Latents, LevelLatent, LevelShape
from tim_plugin.imle.types import Condition
from tim_plugin.utils.errors import TimError

MIN_SHARE, MEAN_SHARE = 0.999, 0.001  # of the nearest image, and of all of them, in the loss
_NOISE_DEVIATION = 0.15  # of the noise encoder's initial weights
_ENCODER_WIDTH = 100


class CRN(nn.Module):
    """Modules at growing resolution, each reading the labels and what the one below gave; several images a pass.

    Args:
        num_in_ch: Classes of the one-hot label map.
        num_images: Images a pass; :meth:`sample` gives them one after the other and begins again.
        num_modules: The finest works at the full size, each other at half of the next; 7 for 4x8 to 256x512.
        widths: Channels of the modules, one number or one each.
        noise_channels: Read beside the labels.
    """

    def __init__(
        self,
        *,
        num_in_ch: int = 20,
        num_images: int = 9,
        num_modules: int = 7,
        widths: int | Sequence[int] = (1024, 1024, 1024, 1024, 1024, 512, 512),
        noise_channels: int = 0,
    ) -> None:
        super().__init__()
        self.num_images = num_images
        sizes = [widths] * num_modules if isinstance(widths, int) else list(widths)
        read = num_in_ch + noise_channels
        below = [0, *sizes[:-1]]
        self.modules_ = nn.ModuleList(_module(read + under, size) for under, size in zip(below, sizes, strict=True))
        self.last = nn.Conv2d(sizes[-1], 3 * num_images, 1)

    def images(self, labels: Tensor) -> Tensor:
        """Return (N, k, 3, H, W), nominally in [0, 1], for labels (and noise) (N, C, H, W).

        Sides are multiples of 2^(num_modules - 1).
        """
        return at_multiples(self._refined, labels, 2 ** (len(self.modules_) - 1)).unflatten(1, (self.num_images, 3))

    def _refined(self, labels: Tensor) -> Tensor:
        out, count = None, len(self.modules_)
        for index, module in enumerate(self.modules_):
            size = [side // 2 ** (count - 1 - index) for side in labels.shape[-2:]]
            here = F.interpolate(labels, size, mode="area")
            if out is not None:
                here = torch.cat([here, F.interpolate(out, size, mode="bilinear", align_corners=False)], dim=1)
            out = module(here)
        return (at_least_single(self.last(out)) + 1) / 2

    def forward(self, lq: Tensor) -> Tensor:
        """Return the first image, (N, 3, H, W), for one-hot labels (N, C, H, W)."""
        return self.images(lq)[:, 0]

    def sample(self, lq: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Return (n, 3, H, W) for one label map: the images of a pass by turns; nothing is drawn."""
        images = self.images(lq)[0]
        return images[torch.arange(len(generators)) % self.num_images]

    def losses(self, lq: Tensor, gt: Tensor, distance: Any) -> dict[str, Tensor]:
        """Return the diversity loss: for each class of each image, the nearest of the images counts, and a little all.

        Args:
            lq: One-hot labels (N, C, H, W).
            gt: (N, 3, H, W) in [0, 1].
            distance: A :class:`tim_plugin.losses.distance.PerceptualDistance`, taken position by position.

        Raises:
            TimError: It has no maps.
        """
        if not hasattr(distance, "maps"):
            raise TimError("train: perceptual_opt: CRN trains by feature maps: use type: PerceptualDistanceLoss")
        images = self.images(lq)  # (N, k, 3, H, W)
        with torch.no_grad():
            target = distance.features(gt)
        maps = [distance.maps(distance.features(one), target, tuple(gt.shape[-2:])) for one in images.unbind(dim=1)]
        by_class = torch.einsum("nkhw,nchw->nkc", torch.stack(maps, dim=1), lq) / (gt.shape[-2] * gt.shape[-1])
        nearest, mean = by_class.amin(dim=1).sum(dim=1), by_class.mean(dim=1).sum(dim=1)
        return {"l_diversity": (MIN_SHARE * nearest + MEAN_SHARE * mean).mean()}


class CRNGenerator(nn.Module):
    """A CRN of one image that also reads encoded noise; to TIMModel it is a tower of one level (vanilla selection).

    Args:
        num_in_ch: Classes of the one-hot label map.
        num_modules: Modules of the CRN; 7 for 4x8 to 256x512.
        widths: Channels of the modules, one number or one each.
        noise_channels: Of the noise, before and after its encoder.
        degradation: What made the labels: a name, or a section with ``type`` and its own keys.
    """

    def __init__(
        self,
        *,
        num_in_ch: int = 20,
        num_modules: int = 7,
        widths: int | Sequence[int] = (1024, 1024, 1024, 1024, 1024, 512, 512),
        noise_channels: int = 10,
        degradation: str | Mapping[str, Any] = "unknown",
    ) -> None:
        super().__init__()
        self.degradation = build_for_tower(degradation, 1, num_in_ch, 3)
        self.spec = StackSpec(num_levels=1, placement="same", scale=1, gt_multiple=1)
        self.noise_channels = noise_channels
        read = num_in_ch + noise_channels
        self.encoder = nn.Sequential(
            nn.Conv2d(read, _ENCODER_WIDTH, 3, 1, 1),
            nn.GroupNorm(1, _ENCODER_WIDTH),
            nn.LeakyReLU(0.2),
            nn.Conv2d(_ENCODER_WIDTH, _ENCODER_WIDTH, 3, 1, 1),
            nn.GroupNorm(1, _ENCODER_WIDTH),
            nn.LeakyReLU(0.2),
            nn.Conv2d(_ENCODER_WIDTH, noise_channels, 1),
        )
        for layer in self.encoder:
            if isinstance(layer, nn.Conv2d):
                nn.init.normal_(layer.weight, std=_NOISE_DEVIATION)
                nn.init.zeros_(layer.bias)
        self.crn = CRN(
            num_in_ch=num_in_ch, num_images=1, num_modules=num_modules, widths=widths, noise_channels=noise_channels
        )

    def forward(self, conditions: Sequence[Condition], latents: Latents) -> list[Tensor]:
        """Return the image (N, 3, H, W) of the one level, in a list, for one condition and its latents."""
        return all_levels(self, conditions, latents)

    def forward_level(
        self, level: int, condition: Condition, latent: LevelLatent, state: Any = None
    ) -> tuple[Tensor, Tensor]:
        """Return the image (N, 3, H, W) of the one level, and the image again as the state that no level reads."""
        labels = condition.image
        encoded = self.encoder(torch.cat([labels, latent.noise], dim=1))
        image = self.crn.forward(torch.cat([labels, encoded], dim=1))
        return image, image

    def latent_shapes(self, height: int, width: int) -> list[LevelShape]:
        """Return the shape of the noise for labels of ``height`` x ``width``; there is no style vector."""
        return [LevelShape((self.noise_channels, height, width), (0,))]


def _module(in_channels: int, channels: int) -> nn.Sequential:
    """Twice: convolution, layer norm over the whole map with a gain per channel, LeakyReLU."""
    parts: list[nn.Module] = []
    for size in (in_channels, channels):
        parts += [nn.Conv2d(size, channels, 3, 1, 1), nn.GroupNorm(1, channels), nn.LeakyReLU(0.2)]
    return nn.Sequential(*parts)
