"""Running a generator of levels as a whole."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from tim_plugin.imle.conditions import Condition
from tim_plugin.imle.latents import Latents


def all_levels(network: nn.Module, conditions: Sequence[Condition], latents: Latents) -> list[Tensor]:
    """Return the image of each level, coarse to fine.

    Args:
        network: With ``forward_level``.
        conditions: One a level.
        latents: Codes of the network's ``latent_shapes``.
    """
    images: list[Tensor] = []
    state = None
    for level, (condition, latent) in enumerate(zip(conditions, latents, strict=True)):
        image, state = network.forward_level(level, condition, latent, state)
        images.append(image)
    return images
