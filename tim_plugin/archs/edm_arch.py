"""Conditional diffusion with the preconditioning, the noise levels and Heun's sampler of EDM (Karras et al. 2022)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tim_plugin.archs.conditional_arch import ConditionalNetwork
from tim_plugin.archs.unet import UNet
from tim_plugin.options.unet_spec import DiffusionSpec
from tim_plugin.options.values import takes_options_of

SIGMA_MIN, SIGMA_MAX, RHO = 0.002, 80.0, 7.0  # table 1
LOG_MEAN, LOG_DEVIATION = -1.2, 1.2  # of the noise levels that are trained on


class Scales(NamedTuple):
    """What a network's input and output are scaled by at a noise level (table 1), each of the level's shape."""

    skip: Tensor
    out: Tensor
    input: Tensor
    time: Tensor


def preconditioning(sigma: Tensor, data: float) -> Scales:
    """Return the scales at noise levels.

    Args:
        sigma: Deviations of the noise, above 0.
        data: Deviation of the data.
    """
    total = (sigma.square() + data**2).sqrt()
    return Scales((data / total) ** 2, sigma * data / total, 1 / total, sigma.log() / 4)


def noise_levels(steps: int) -> list[float]:
    """Return the noise levels of a sampler (equation 5), falling, with the final 0: ``steps`` + 1."""
    high, low = SIGMA_MAX ** (1 / RHO), SIGMA_MIN ** (1 / RHO)
    return [(high + step / max(steps - 1, 1) * (low - high)) ** RHO for step in range(steps)] + [0.0]


def heun(denoise: Callable[[Tensor, float], Tensor], noise: Tensor, levels: Sequence[float]) -> Tensor:
    """Follow dx / d sigma = (x - D(x, sigma)) / sigma by Heun's rule, the last step by Euler's (algorithm 1).

    Args:
        denoise: D, which maps values (N, ...) and a noise level to the expected values without noise.
        noise: Standard normal, (N, ...).
        levels: Falling, the last one 0; K + 1 levels take 2 K - 1 evaluations.
    """
    values = noise * levels[0]
    for level, following in zip(levels[:-1], levels[1:], strict=True):
        slope = (values - denoise(values, level)) / level
        moved = values + (following - level) * slope
        if following > 0:
            slope = (slope + (moved - denoise(moved, following)) / following) / 2
            moved = values + (following - level) * slope
        values = moved
    return values


@takes_options_of(DiffusionSpec)
class ConditionalEDM(ConditionalNetwork):
    """A U-Net that removes noise of any level, given the LQ; ``steps`` of Heun's rule make a sample."""

    def __init__(self, spec: DiffusionSpec) -> None:
        super().__init__(spec)
        self.noise_channels, self.steps = self.num_values, spec.steps
        self.unet = UNet(self.num_values + spec.num_in_ch, self.num_values, spec.widths, is_timed=True)

    @property
    def evaluations(self) -> int:
        """How often the network is run for a sample."""
        return 2 * self.steps - 1

    def from_noise(self, condition: Tensor, noise: Tensor) -> Tensor:
        """Return the values (N, V, H, W) that the sampler makes of noise."""

        def denoise(values: Tensor, level: float) -> Tensor:
            return self.denoised(values, torch.full((len(values),), level, device=values.device), condition)

        return heun(denoise, noise, noise_levels(self.steps))

    def denoised(self, values: Tensor, sigma: Tensor, condition: Tensor) -> Tensor:
        """Return the expected values (N, V, H, W) without noise, of values with noise of deviations (N,)."""
        scales = Scales(*(one[:, None, None, None] for one in preconditioning(sigma, self.spec.data)))
        raw = self.unet(torch.cat([scales.input * values, condition], dim=1), scales.time.flatten())
        return scales.skip * values + scales.out * raw.float()

    def losses(self, lq: Tensor, gt: Tensor, distance: Any, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the squared error of the values without noise, weighted by noise level (table 1).

        Args:
            lq: (N, C, h, w) in [0, 1].
            gt: (N, 3, H, W) in [0, 1].
            distance: Not used.
            generator: Source of noise and its levels.
        """
        clean = self.values(gt)
        sigma = torch.randn(len(clean), generator=generator, device=generator.device).to(clean)
        sigma = (LOG_MEAN + LOG_DEVIATION * sigma).exp()
        noise = sigma[:, None, None, None] * self.drawn_like(clean, generator)
        errors = (self.denoised(clean + noise, sigma, self.condition(lq)) - clean).square().mean(dim=(1, 2, 3))
        return {"l_denoise": (errors / preconditioning(sigma, self.spec.data).out.square()).mean()}
