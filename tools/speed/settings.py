"""The networks that benchmarks run: the demo's, a middle one, the published one for 16x super-resolution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Setting:
    """A network and how it is used: arguments of the tower, side of the LQ, candidates a level, items at once."""

    network: dict[str, Any]
    lq_px: int
    examples: int
    candidates: int
    at_once: int


SETTINGS = {
    "demo": Setting(
        {
            "trunk_channels": [32, 32, 24, 16],
            "growth_channels": [32, 24, 16, 12],
            "num_blocks": 2,
            "style_dim": 32,
            "mapping_width": 64,
            "mapping_layers": 3,
            "consistency": "project",
        },
        4,
        4,
        16,
        16,
    ),
    "mid": Setting(
        {
            "trunk_channels": [64, 32, 32, 32],
            "growth_channels": [64, 48, 32, 16],
            "num_blocks": 3,
            "style_dim": 64,
            "mapping_width": 128,
            "mapping_layers": 4,
            "consistency": "project",
        },
        8,
        1,
        16,
        4,
    ),
    "published": Setting({"consistency": "project"}, 16, 1, 16, 4),
}
DEFAULT = ("demo", "mid")  # the published network takes minutes on a CPU
