"""A temperature that is kept with a tower: its weights read latents as if these had been multiplied by it."""

from __future__ import annotations

import torch

from tim_plugin.archs.tower_arch import TowerGenerator


@torch.no_grad()
def keep_temperature(tower: TowerGenerator, temperature: float) -> None:
    """Change a tower's weights so that at temperature 1 it gives what it gave at ``temperature``.

    One linear layer of each level reads the noise map, and another one the style: their weights are multiplied.

    Args:
        tower: Changed in place.
        temperature: Above 0, see :func:`tim_plugin.inference.sampler.sample_chunks`.
    """
    for level, spec in zip(tower.levels, tower.spec.levels, strict=True):
        factors = torch.ones(spec.in_channels, device=level.conv_first.weight.device)
        factors[spec.image_channels :][: spec.noise_channels] = temperature
        weight = level.conv_first.weight * factors[:, None, None]
        # Weight normalisation takes a new weight apart when it is assigned; a plain layer wants a parameter.
        is_plain = isinstance(level.conv_first.weight, torch.nn.Parameter)
        level.conv_first.weight = torch.nn.Parameter(weight) if is_plain else weight
        if level.mapping is not None:
            level.mapping.hidden[0].weight *= temperature
