"""What a level of the tower is given of the input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor


class Condition(NamedTuple):
    """One level's part of the input; all tensors have the batch first.

    Attributes:
        image: (N, C, H_k, W_k): what the level reads, or None where it reads the level below only.
        given: What the projection of the level's image needs, or None where nothing is projected.
    """

    image: Tensor | None
    given: dict[str, Tensor] | None = None


def coarsest(conditions: Sequence[Condition]) -> Tensor:
    """Return what the first level reads, which gives batch size and resolution."""
    return conditions[0].image
