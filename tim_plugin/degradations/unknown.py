"""Restoration with an unknown degradation: pairs come from files, and there is no projection."""

from __future__ import annotations

import torch
from torch import Tensor

from tim_plugin.degradations.base import Degradation, Observed
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.image_decoding import decode_image


class Unknown(Degradation):
    """A degradation that is not known: LQ files are the user's own, of the GT's size divided by ``scale``.

    Args:
        scale: Size of the GT over the size of the LQ.
    """

    keeps_alpha = True
    needs_files = True

    def __init__(self, scale: int = 1) -> None:
        self.scale = scale

    def degrade(self, gt: Tensor, generator: torch.Generator | None = None) -> Observed:
        """Refuse: an LQ cannot be made from a GT.

        Raises:
            TimError: Always.
        """
        raise TimError(
            "the LQ cannot be made from the GT, its degradation is not known: give dataroot_lq, the LQ files"
        )

    def read(self, content: bytes, name: str) -> Observed:
        """Read any image file as the LQ.

        Raises:
            TimError: It is no image, or damaged.
        """
        return Observed(decode_image(content, name).rgb)
