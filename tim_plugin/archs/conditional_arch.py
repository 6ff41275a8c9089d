"""What the compared U-Nets share: values of images, the LQ beside them, samples of seeds; and the plain regression."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tim_plugin.archs.heads import AB_MAX, with_lightness
from tim_plugin.archs.unet import UNet
from tim_plugin.degradations.table import build_for_tower, portable_section
from tim_plugin.options.unet_spec import WRITTEN, UNetSpec
from tim_plugin.options.values import takes_options_of
from tim_plugin.utils.color import rgb_to_lab

AB_UNIT = 32.0  # of a and b: photographs' are then spread about as their RGB in [-1, 1] is
AT_ONCE = 8  # samples


class ConditionalNetwork(nn.Module, ABC):
    """A network that makes the values of an image from an LQ and noise.

    Values are RGB in [-1, 1], or a and b of Lab over 32. A subclass has :meth:`from_noise`; a sample is a function of
    the LQ and of one draw of noise, whatever the number of steps.

    Args:
        spec: The network's options.
    """

    noise_channels = 0

    def __init__(self, spec: UNetSpec) -> None:
        super().__init__()
        self.spec = spec
        self.degradation = build_for_tower(spec.degradation, spec.scale, spec.num_in_ch, WRITTEN)
        self.num_values = 2 if spec.head == "ab" else WRITTEN
        self.adds_to_lq = spec.head == "rgb" and spec.num_in_ch == self.num_values

    @abstractmethod
    def from_noise(self, condition: Tensor, noise: Tensor) -> Tensor:
        """Return values (N, V, H, W) for the LQ as :meth:`condition` gives it and noise (N, noise_channels, H, W)."""

    def condition(self, lq: Tensor) -> Tensor:
        """Return what is read of an LQ (N, C, h, w) in [0, 1]: at the images' size, (N, C, H, W) in [-1, 1]."""
        if self.spec.scale > 1:
            lq = F.interpolate(lq, scale_factor=self.spec.scale, mode="bilinear", align_corners=False)
        return lq * 2 - 1

    def values(self, gt: Tensor) -> Tensor:
        """Return the values (N, V, H, W) of images (N, 3, H, W) in [0, 1]."""
        return gt * 2 - 1 if self.spec.head == "rgb" else rgb_to_lab(gt)[:, 1:] / AB_UNIT

    def images(self, values: Tensor, lq: Tensor) -> Tensor:
        """Return images (N, 3, H, W), nominally in [0, 1], of values (N, V, H, W) and their LQ."""
        values = values.float()
        if self.spec.head == "rgb":
            return (values + 1) / 2
        return with_lightness((values * AB_UNIT).clamp(-AB_MAX, AB_MAX), lq)

    def forward(self, lq: Tensor) -> Tensor:
        """Return an image (N, 3, H, W) of each LQ (N, C, h, w), always the same."""
        generator = torch.Generator(lq.device).manual_seed(0)
        condition = self.condition(lq)
        return self.images(self.from_noise(condition, self._noise(condition, [generator] * len(lq))), lq)

    def sample(self, lq: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Return samples (n, 3, H, W), one for each generator, of one LQ (1, C, h, w)."""
        condition, found = self.condition(lq), []
        for start in range(0, len(generators), AT_ONCE):
            noise = self._noise(condition, generators[start : start + AT_ONCE])
            values = self.from_noise(condition.expand(len(noise), -1, -1, -1), noise)
            found.append(self.images(values, lq.expand(len(noise), -1, -1, -1)))
        return torch.cat(found)

    def _noise(self, condition: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        size = (self.noise_channels, *condition.shape[-2:])
        return torch.stack([torch.randn(size, generator=one, device=one.device) for one in generators]).to(condition)

    def portable(self) -> dict[str, Any]:
        """Return arguments that rebuild this network without the files that its own arguments may name."""
        return portable_section(self.spec.degradation, self.degradation)

    def drawn_like(self, values: Tensor, generator: torch.Generator) -> Tensor:
        """Return standard normal noise of the shape of values, drawn on the generator's device."""
        return torch.randn(values.shape, generator=generator, device=generator.device).to(values)


class MeanUNet(UNet):
    """A U-Net that gives the mean of the values, by what it adds to the enlarged LQ where that has the same channels.

    Args:
        spec: The network's options.
        num_values: Channels of the values.
        adds_to_lq: Whether the LQ has them too.
    """

    def __init__(self, spec: UNetSpec, num_values: int, adds_to_lq: bool) -> None:
        super().__init__(spec.num_in_ch, num_values, spec.widths)
        self.adds_to_lq = adds_to_lq

    def forward(self, condition: Tensor, time: Tensor | None = None) -> Tensor:
        """Return values (N, V, H, W) of a condition (N, C, H, W); there is no time."""
        made = super().forward(condition)
        return condition + made if self.adds_to_lq else made


@takes_options_of(UNetSpec)
class RegressionUNet(ConditionalNetwork):
    """The mean of the images that an LQ may have, by least squares: one image, the best PSNR and no diversity."""

    def __init__(self, spec: UNetSpec) -> None:
        super().__init__(spec)
        self.mean = MeanUNet(spec, self.num_values, self.adds_to_lq)

    def from_noise(self, condition: Tensor, noise: Tensor) -> Tensor:
        """Return the mean (N, V, H, W); the noise is not read."""
        return self.mean(condition)

    def losses(self, lq: Tensor, gt: Tensor, distance: Any = None) -> dict[str, Tensor]:
        """Return the mean squared error of the values.

        Args:
            lq: (N, C, h, w) in [0, 1].
            gt: (N, 3, H, W) in [0, 1].
            distance: Not used.
        """
        return {"l_mean": F.mse_loss(self.mean(self.condition(lq)).float(), self.values(gt))}
