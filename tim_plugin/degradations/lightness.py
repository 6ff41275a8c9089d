"""Colourisation: the lightness L of Lab is given, as a grey image of that lightness."""

from __future__ import annotations

import torch
from torch import Tensor

from tim_plugin.color import L_MAX, L_STEP, grey_of, into_gamut, lab_to_rgb, lightness_of, rgb_to_lab
from tim_plugin.degradations.base import Degradation, Given, Measure, Observed
from tim_plugin.images import decode_image, encode_png, round_to_8_bit


class Lightness(Degradation):
    """The LQ is L / 100 of the 8-bit grey image that has the GT's lightness; its file is that grey image.

    The projection gives each colour the given lightness, keeps hue and as much of the chroma as sRGB has room for.
    """

    channels = 1
    keeps_alpha = True
    projects = True
    measured = {
        "l_in_step": Measure("share of pixels whose L is within one 8-bit step", "higher"),
        "l_error": Measure("8-bit steps of L, mean", "lower"),
    }

    def degrade(self, gt: Tensor, generator: torch.Generator | None = None) -> Observed:
        """Take the lightness of a GT of any size; see :meth:`Degradation.degrade`."""
        return Observed(lightness_of(_grey(gt).expand(3, -1, -1)))

    def read(self, content: bytes, name: str) -> Observed:
        """Read a grey image, or the lightness of a colour image; see :meth:`Degradation.read`."""
        return self.degrade(decode_image(content, name).rgb)

    def encode(self, gt: Tensor, generator: torch.Generator | None = None) -> bytes:
        """Return a grey PNG; see :meth:`Degradation.encode`."""
        return encode_png(_grey(gt))

    def shrink(self, lq: Tensor, size: tuple[int, int]) -> Tensor:
        """Shrink by antialiased bicubic without its overshoot: there is no L below 0 or above 100."""
        return super().shrink(lq, size).clamp(0, 1)

    def given_at_level(self, observed: Observed, level_lq: Tensor | None, is_last: bool) -> Given | None:
        """Each level's lightness is given at its resolution."""
        return {"lq": level_lq}

    def project(self, images: Tensor, given: Given) -> Tensor:
        """Return the colours of ``images`` with the given lightness, in the gamut; see :meth:`Degradation.project`."""
        ab = rgb_to_lab(images)[:, 1:]
        return lab_to_rgb(into_gamut(torch.cat([given["lq"] * L_MAX, ab], dim=1)))

    def saving_copies(self, values: int) -> float:
        """Mostly steps of a bisection in Lab; see :meth:`Degradation.saving_copies`."""
        return 12.5

    def measure(self, images: Tensor, observed: Observed) -> dict[str, Tensor]:
        """Return ``l_in_step`` and ``l_error`` of images as they are saved."""
        steps = (lightness_of(round_to_8_bit(images)) - observed.lq).abs() * (L_MAX / L_STEP)  # (N, 1, H, W)
        return {"l_in_step": (steps <= 1).flatten(1).float().mean(dim=1), "l_error": steps.flatten(1).mean(dim=1)}

    def picture(self, lq: Tensor) -> Tensor:
        """Return the grey image."""
        return grey_of(lq).expand(3, -1, -1)


def _grey(rgb: Tensor) -> Tensor:
    """Return the grey image (1, H, W), on the 8-bit grid, that is as light as an RGB image."""
    return round_to_8_bit(grey_of(lightness_of(rgb)))
