"""What two searches among the same candidates picked."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tim_plugin.imle.search import Selection

ROUNDING = 1e-5  # relative: what another order of the same operations moves a distance by


def same_picks(a: Selection, b: Selection) -> bool:
    """Tell whether two searches picked the same latents, each example's level by level.

    Others of an equal distance, up to :data:`ROUNDING`, are a tie and as good; above it an example is not
    compared, since what is built on other latents is another image.
    """
    compared = torch.ones(len(a.distances), dtype=torch.bool, device=a.distances.device)
    for level, (found, other) in enumerate(zip(a.distances.T, b.distances.T, strict=True)):
        same = _same_latents(a, b, level)
        if (compared & ~same & ~torch.isclose(found, other, rtol=ROUNDING, atol=0)).any():
            return False
        compared &= same
    return True


def picks(pairs: Sequence[tuple[Selection, Selection]]) -> dict[str, Any]:
    """Return how often the same candidate is picked, level by level, and by how much the selected distance grows."""
    levels = range(len(pairs[0][0].latents))
    same = [statistics.mean(float(_same_latents(a, b, level).float().mean()) for a, b in pairs) for level in levels]
    before, after = (sum(float(pair[side].distances.sum()) for pair in pairs) for side in range(2))
    return {
        "share of examples with the same pick, by level (above the first also where a lower pick differs)": [
            round(one, 3) for one in same
        ],
        "selected distance, relative change": round(after / before - 1, 6),
    }


def _same_latents(a: Selection, b: Selection, level: int) -> Tensor:
    """Return (N,): the same latents."""
    return (a.latents[level].noise == b.latents[level].noise).flatten(1).all(dim=1)
