"""Conditional GAN with the regularisation of rcGAN (Bendel, Ahmad and Schniter, NeurIPS 2023).

The generator is kept from giving one image alone: L1 of the mean of two samples, less a reward of their deviation, are
lowest at the true mean and deviation of a Gaussian. What differs from the paper: the reward has its theoretical weight
throughout, and the critic and the generator are stepped at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from tim_plugin.archs.conditional_arch import ConditionalNetwork
from tim_plugin.archs.unet import UNet
from tim_plugin.options.unet_spec import GanSpec
from tim_plugin.options.values import takes_options_of

GRADIENT_PENALTY, DRIFT = 10.0, 1e-3  # of the critic (Gulrajani et al. 2017; Karras et al. 2018)


def mean_and_deviation(samples: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return the L1 error of the mean of P samples, and the reward that balances it (equations 9 to 11).

    Args:
        samples: (P, N, ...).
        target: (N, ...).
    """
    count, mean = len(samples), samples.mean(dim=0)
    scale = math.sqrt(math.pi / (2 * count * (count - 1)))
    deviation = scale * (samples - mean).abs().sum(dim=0).mean()
    return (target - mean).abs().mean(), math.sqrt(2 / (math.pi * count * (count + 1))) * deviation


class Critic(nn.Module):
    """Convolutions that halve the size, and a mean over positions: how real an image looks beside its LQ.

    Args:
        in_channels: Of values and LQ together.
        widths: Channels at each size.
    """

    def __init__(self, in_channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        sizes = zip([in_channels, *widths[:-1]], widths, strict=True)
        self.layers = nn.ModuleList(nn.Conv2d(*one, 3, 2, 1) for one in sizes)
        self.last = nn.Conv2d(widths[-1], 1, 1)

    def forward(self, values: Tensor, condition: Tensor) -> Tensor:
        """Return (N,) of values (N, V, H, W) and a condition (N, C, H, W)."""
        out = torch.cat([values, condition], dim=1)
        for layer in self.layers:
            out = F.leaky_relu(layer(out), 0.2)
        return self.last(out).mean(dim=(1, 2, 3))


@takes_options_of(GanSpec)
class RcGAN(ConditionalNetwork):
    """A U-Net that reads noise of every size beside the LQ, and the critic that it is trained with."""

    evaluations = 1

    def __init__(self, spec: GanSpec) -> None:
        super().__init__(spec)
        self.noise_channels = len(spec.widths)
        self.unet = UNet(self.noise_channels + spec.num_in_ch, self.num_values, spec.widths)
        self.unet.last.reset_parameters()  # equal samples have a deviation without a gradient
        self.critic = Critic(self.num_values + spec.num_in_ch, spec.widths)

    def from_noise(self, condition: Tensor, noise: Tensor) -> Tensor:
        """Return values (N, V, H, W); channel k of the noise is constant over squares of 2^k pixels."""
        height, width = noise.shape[-2:]
        coarse = [noise[:, k : k + 1, :: 2**k, :: 2**k] for k in range(self.noise_channels)]
        coarse = [F.interpolate(one, scale_factor=2.0**k, mode="nearest") for k, one in enumerate(coarse)]
        made = self.unet(torch.cat([*(one[..., :height, :width] for one in coarse), condition], dim=1))
        return condition + made if self.adds_to_lq else made

    def losses(self, lq: Tensor, gt: Tensor, distance: Any, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the generator's losses, which move the critic not, and the critic's, which move the generator not.

        Args:
            lq: (N, C, h, w) in [0, 1].
            gt: (N, 3, H, W) in [0, 1].
            distance: Not used.
            generator: Source of noise.
        """
        real, condition = self.values(gt), self.condition(lq)
        noise = torch.randn(2 * len(lq), self.noise_channels, *real.shape[-2:], generator=generator, device=lq.device)
        twice = condition.repeat(2, 1, 1, 1)
        fake = self.from_noise(twice, noise).float()
        error, reward = mean_and_deviation(fake.unflatten(0, (2, -1)), real)
        frozen = {name: one.detach() for name, one in self.critic.named_parameters()}
        liked = functional_call(self.critic, frozen, (fake, twice)).mean()
        own = self._critics_losses(real, fake[: len(real)].detach(), condition, generator)
        return {"l_adversarial": -self.spec.adversarial_weight * liked, "l_mean": error, "l_deviation": -reward, **own}

    def _critics_losses(
        self, real: Tensor, fake: Tensor, condition: Tensor, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Return Wasserstein's loss with gradient penalty and drift."""
        of_real, of_fake = self.critic(real, condition), self.critic(fake, condition)
        share = torch.rand(len(real), 1, 1, 1, generator=generator, device=generator.device).to(real)
        between = torch.lerp(real, fake, share).requires_grad_()
        (slope,) = torch.autograd.grad(self.critic(between, condition).sum(), between, create_graph=True)
        penalty = GRADIENT_PENALTY * (slope.flatten(1).norm(dim=1) - 1).square().mean()
        return {"l_critic": (of_fake - of_real).mean(), "l_penalty": penalty + DRIFT * of_real.square().mean()}
