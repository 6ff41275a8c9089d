"""What ``tim evaluate`` measures, by name, and how it finds samples; needs no torch, for a command's help."""

from __future__ import annotations

from typing import NamedTuple

CONDITIONAL = "cfid"
OF_SETS = ("fid", "kid", "prc", CONDITIONAL)
OF_POSTERIOR = ("energy_score", "crps", "spread_over_error", "coverage")  # in pixels and in features
CALIBRATION = "calibration"  # all of these
VARIATION = "variation"
OF_DISTANCE = ("lpips", "lpips_diversity", "fwv", *OF_POSTERIOR, VARIATION)
OF_PIXELS = ("psnr", "ssim")
SPACE_SAMPLES = 10  # of the NTIRE 'learning the super-resolution space' challenge
SPACE = f"s{SPACE_SAMPLES}"
CONSISTENCY = "consistency"
METRICS = (*OF_SETS, *OF_DISTANCE, CALIBRATION, SPACE, *OF_PIXELS, CONSISTENCY)
PATTERN = "{name}_s{index}"


class NetworkOption(NamedTuple):
    """An option of how a network samples: how it is written, its default, and the least that it may be."""

    flag: str
    default: int | str
    least: int | None = None


OF_NETWORK = {
    "num_samples": NetworkOption("-n", 10, 1),
    "seed": NetworkOption("--seed", 0, 0),
    "temperature": NetworkOption("--temperature", "1"),
    "batch": NetworkOption("--batch", 4, 1),
}
