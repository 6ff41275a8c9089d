"""Rectified flow from the posterior mean (PMRF, Ohayon et al., ICLR 2025; rectified flow: Liu et al., ICLR 2023).

The mean is learned by least squares; a velocity, by straight lines from the mean and a little noise to the GT. What
differs from the paper: both are trained at once, and the velocity also reads the LQ.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tim_plugin.archs.conditional_arch import ConditionalNetwork, MeanUNet
from tim_plugin.archs.unet import UNet
from tim_plugin.options.unet_spec import FlowSpec
from tim_plugin.options.values import takes_options_of


def euler(velocity: Callable[[Tensor, Tensor], Tensor], start: Tensor, steps: int) -> Tensor:
    """Follow a velocity from time 0 to 1 in equal steps.

    Args:
        velocity: Maps values (N, ...) and times (N,) to a velocity (N, ...).
        start: (N, ...) at time 0.
        steps: Evaluations.
    """
    values = start
    for step in range(steps):
        time = torch.full((len(start),), step / steps, device=start.device)
        values = values + velocity(values, time) / steps
    return values


@takes_options_of(FlowSpec)
class RectifiedFlow(ConditionalNetwork):
    """The mean, and samples by a flow from it: one evaluation of the mean and ``steps`` of the velocity."""

    def __init__(self, spec: FlowSpec) -> None:
        super().__init__(spec)
        self.noise_channels, self.steps = self.num_values, spec.steps
        self.mean = MeanUNet(spec, self.num_values, self.adds_to_lq)
        self.unet = UNet(self.num_values + spec.num_in_ch, self.num_values, spec.widths, is_timed=True)

    @property
    def evaluations(self) -> int:
        """How often a network of its size is run for a sample, that of the mean included."""
        return 1 + self.steps

    def from_noise(self, condition: Tensor, noise: Tensor) -> Tensor:
        """Return the values (N, V, H, W) at the end of the flow that begins at the mean and this noise."""
        start = self.mean(condition) + self.spec.noise * noise
        return euler(lambda values, time: self.velocity(values, time, condition), start, self.steps)

    def velocity(self, values: Tensor, time: Tensor, condition: Tensor) -> Tensor:
        """Return the velocity (N, V, H, W) of values at times (N,) in [0, 1]."""
        return self.unet(torch.cat([values, condition], dim=1), time)

    def losses(self, lq: Tensor, gt: Tensor, distance: Any, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the squared errors of the mean and of the velocity at a random time of each line.

        Args:
            lq: (N, C, h, w) in [0, 1].
            gt: (N, 3, H, W) in [0, 1].
            distance: Not used.
            generator: Source of noise and times.
        """
        condition, end = self.condition(lq), self.values(gt)
        mean = self.mean(condition).float()
        start = mean.detach() + self.spec.noise * self.drawn_like(end, generator)
        time = torch.rand(len(end), generator=generator, device=generator.device).to(end)
        values = torch.lerp(start, end, time[:, None, None, None])
        found = self.velocity(values, time, condition).float()
        return {"l_mean": F.mse_loss(mean, end), "l_flow": F.mse_loss(found, end - start)}
