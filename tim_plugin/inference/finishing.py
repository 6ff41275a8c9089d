"""Raw images of a network made samples as they are saved: projected, clipped, rounded; and their consistency."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from tim_plugin.degradations.base import Degradation, Observed
from tim_plugin.degradations.unknown import Unknown
from tim_plugin.utils.images import round_to_8_bit
from tim_plugin.utils.strips import by_strips
from tim_plugin.utils.trees import tile


def finish(images: Tensor, observed: Observed, tower: nn.Module, consistency: str | None = None) -> Tensor:
    """Clip and round raw samples to what an 8-bit file holds, keeping them consistent with the input if the tower is.

    Args:
        images: (n, C, H, W), samples of one image.
        observed: What is known of it, a batch of one on the CPU.
        tower: Knows the degradation, if there is anything to project.
        consistency: ``off`` or ``project``; None does as the tower does.

    Returns:
        (n, C, H, W) in [0, 1] on the 8-bit grid.
    """
    own = tower.spec.consistency if hasattr(tower, "spec") else "off"
    if (consistency or own) == "project":
        tower.degradation.require_complete(observed)
        return tower.degradation.project_for_saving(images, tile(observed, len(images)))
    return by_strips(lambda part, rows: round_to_8_bit(part), images)


def measure_consistency(degradation: Degradation, samples: Tensor, observed: Observed) -> dict[str, list[float]]:
    """Return how consistent saved samples of one image are with its input.

    Args:
        degradation: Made the input.
        samples: (n, C, H, W) in [0, 1].
        observed: The input, a batch of one on the samples' device.

    Returns:
        One value for each sample, by measure (such as ``lr_psnr``); nothing where the degradation is not known.
    """
    if not degradation.is_complete(observed):
        return {}
    measures = degradation.measure(samples, tile(observed, len(samples)))
    return {name: values.tolist() for name, values in measures.items()}


def degradation_of(network: nn.Module, dataset: Any = None) -> Degradation:
    """Return the degradation that a network knows, or else its dataset, or else the unknown one."""
    for owner in (network, dataset):
        if hasattr(owner, "degradation"):
            return owner.degradation
    return Unknown()
