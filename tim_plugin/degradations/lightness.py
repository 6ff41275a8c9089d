"""Colourisation: the lightness L of Lab is given, as a grey image of that lightness."""

from __future__ import annotations

import torch
from torch import Tensor

from tim_plugin.degradations.base import Degradation, Given, Measure, Observed
from tim_plugin.utils.color import L_MAX, L_STEP, grey_of, into_gamut, lab_to_rgb, lightness_of, rgb_to_lab
from tim_plugin.utils.image_decoding import decode_image
from tim_plugin.utils.images import encode_png, round_to_8_bit
from tim_plugin.utils.strips import by_strips, strips


class Lightness(Degradation):
    """The LQ is L / 100 of the 8-bit grey image that has the GT's lightness; its file is that grey image.

    The projection gives each colour the given lightness, keeps hue and as much of the chroma as sRGB has room for.
    """

    channels = 1
    keeps_alpha = True
    projects = True
    saving_copies = strip_copies = 12.5  # mostly steps of a bisection in Lab
    measured = {
        "l_in_step": Measure("share of pixels whose L is within one 8-bit step", "higher"),
        "l_error": Measure("8-bit steps of L, mean", "lower"),
    }

    def degrade(self, gt: Tensor, generator: torch.Generator | None = None) -> Observed:
        """Return the lightness L / 100, (1, H, W) in [0, 1], of a GT (3, H, W) of any size."""
        return Observed(lightness_of(_grey(gt).expand(3, -1, -1)))

    def read(self, content: bytes, name: str) -> Observed:
        """Read a grey image, or the lightness of a colour image.

        Raises:
            TimError: It is no image, or damaged.
        """
        return self.degrade(decode_image(content, name).rgb)

    def encode(self, gt: Tensor, generator: torch.Generator | None = None) -> bytes:
        """Return the PNG of the grey image that has the lightness of a GT (3, H, W)."""
        return encode_png(_grey(gt))

    def shrink(self, lq: Tensor, size: tuple[int, int]) -> Tensor:
        """Shrink by antialiased bicubic without its overshoot: there is no L below 0 or above 100."""
        return super().shrink(lq, size).clamp(0, 1)

    def given_at_level(self, observed: Observed, level_lq: Tensor | None, is_last: bool) -> Given | None:
        """Return the lightness at the level's own resolution."""
        return {"lq": level_lq}

    def project(self, images: Tensor, given: Given) -> Tensor:
        """Return images (N, 3, H, W) with the given lightness, their own hue, and as much chroma as fits into sRGB."""
        return by_strips(lambda part, rows: _with_lightness(part, given["lq"][..., rows, :]), images)

    def project_for_saving(self, images: Tensor, observed: Observed) -> Tensor:
        """Return the projected images in steps of 1/255."""
        return by_strips(lambda part, rows: round_to_8_bit(_with_lightness(part, observed.lq[..., rows, :])), images)

    def measure(self, images: Tensor, observed: Observed) -> dict[str, Tensor]:
        """Return ``l_in_step`` (share of pixels) and ``l_error`` (8-bit steps), (N,) each, of images as saved."""
        in_step = error = torch.zeros(len(images), dtype=torch.float64, device=images.device)
        for rows in strips(images):
            lightness = lightness_of(round_to_8_bit(images[..., rows, :]))
            steps = ((lightness - observed.lq[..., rows, :]).abs() * (L_MAX / L_STEP)).flatten(1)  # (N, h W)
            in_step, error = in_step + (steps <= 1).sum(dim=1), error + steps.double().sum(dim=1)
        pixels = images.shape[-2] * images.shape[-1]
        return {"l_in_step": (in_step / pixels).float(), "l_error": (error / pixels).float()}

    def picture(self, lq: Tensor) -> Tensor:
        """Return the grey image (3, h, w) in [0, 1] of a lightness (1, h, w)."""
        return grey_of(lq).expand(3, -1, -1)


def _with_lightness(images: Tensor, lightness: Tensor) -> Tensor:
    ab = rgb_to_lab(images)[:, 1:]
    return lab_to_rgb(into_gamut(torch.cat([lightness * L_MAX, ab], dim=1)))


def _grey(rgb: Tensor) -> Tensor:
    """Return the grey image (1, H, W), on the 8-bit grid, that is as light as an RGB image."""
    return round_to_8_bit(grey_of(lightness_of(rgb)))
