"""Gradient steps on the latents that a search has chosen: nearer to the target than any candidate, at the same norm."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tim_plugin.imle.latents import Latents, LevelLatent
from tim_plugin.imle.pyramid import Pyramids
from tim_plugin.imle.types import DistanceLike, features_of_target

_TINY = 1e-12


def refined(
    tower: nn.Module,
    distance: DistanceLike,
    pyramids: Pyramids,
    latents: Latents,
    levels: Sequence[int],
    steps: int,
    size: float,
) -> tuple[Latents, Tensor]:
    """Lead latents down the gradient of their levels' distances; beyond the paper.

    In each step every example's noise map and style vector of every level is moved against the gradient by ``size`` of
    its own norm, and brought back to that norm: values of a standard normal lie near a sphere, and what a tower is
    trained on is to look like what it is sampled with.

    Args:
        tower: The generator; its weights get no gradient.
        distance: Between its images and the targets.
        pyramids: Of N examples.
        latents: What a search has chosen for them.
        levels: Whose distances are summed.
        steps: How many.
        size: Of a step, relative to the norm.

    Returns:
        Of each example the nearest latents, after whichever step, or those that were given if no step brought it
        nearer; and their distances (N, len(levels)).
    """
    with torch.no_grad():
        targets = [features_of_target(distance, pyramids.targets[level]) for level in levels]
    values = [tensor for level in latents for tensor in level]
    best, nearest = values, values[0].new_full((latents.batch_size, len(levels)), torch.inf)
    for step in range(steps + 1):
        goes_on = step < steps
        values = [one.detach().requires_grad_(goes_on) for one in values]
        with torch.set_grad_enabled(goes_on):
            images = tower(pyramids.conditions, _latents_of(values))
            compared = zip(levels, targets, strict=True)
            found = [distance.distance(distance.features(images[level]), target) for level, target in compared]
            distances = torch.stack(found, dim=1)
        nearer = distances.detach().sum(dim=1) < nearest.sum(dim=1)
        nearest = torch.where(nearer[:, None], distances.detach(), nearest)
        best = [torch.where(_along(nearer, one), one.detach(), old) for one, old in zip(values, best, strict=True)]
        if goes_on:
            slopes = torch.autograd.grad(distances.sum(), values, allow_unused=True)
            values = [_led(one.detach(), slope, size) for one, slope in zip(values, slopes, strict=True)]
    return _latents_of(best), nearest


def _latents_of(values: Sequence[Tensor]) -> Latents:
    return Latents([LevelLatent(*level) for level in zip(values[::2], values[1::2], strict=True)])


def _led(value: Tensor, slope: Tensor | None, size: float) -> Tensor:
    if slope is None:  # no image depends on it
        return value
    norm = _norm(value)
    there = value - size * norm * slope / _norm(slope)
    return there * norm / _norm(there)


def _norm(value: Tensor) -> Tensor:
    return _along(value.flatten(1).norm(dim=1).clamp_min(_TINY), value)


def _along(of_examples: Tensor, value: Tensor) -> Tensor:
    """Return (N,) as it multiplies or masks (N, ...)."""
    return of_examples.view(-1, *[1] * (value.ndim - 1))
