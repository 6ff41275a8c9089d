"""Square crops of photographs at many sizes and scales, drawn from a generator."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from tim_plugin.utils.errors import TimError
from tim_plugin.utils.images import list_images, read_image, round_to_8_bit
from tim_plugin.utils.resize import bicubic_resize


class Crops:
    """Photographs held in memory as bytes.

    Args:
        folders: Each with images, read without its subfolders.
        smallest_px: Shorter side that each needs.
        progress: Show a bar.

    Raises:
        TimError: There is no such folder, or an image is damaged or too small.
    """

    def __init__(self, folders: Sequence[Path], smallest_px: int, *, progress: bool = False) -> None:
        paths = [path for folder in folders for path in list_images(folder)]
        self.photos = []
        for path in tqdm(paths, desc="reading", unit="photo", disable=not progress):
            rgb = read_image(path).rgb
            if min(rgb.shape[-2:]) < smallest_px:
                raise TimError(f"{path}: is {rgb.shape[2]}x{rgb.shape[1]} pixels large; {smallest_px} are needed")
            self.photos.append(rgb.mul(255).round().byte())

    def draw(self, count: int, side_px: int, generator: torch.Generator) -> Tensor:
        """Return (count, 3, side, side) in [0, 1]: parts of photographs, shrunk by whole numbers or not at all."""
        return torch.stack([self._one(side_px, generator) for _ in range(count)])

    def _one(self, side_px: int, generator: torch.Generator) -> Tensor:
        photo = self.photos[int(torch.randint(len(self.photos), (), generator=generator))]
        height, width = photo.shape[-2:]
        largest, drawn = min(height, width) // side_px, torch.rand(4, generator=generator).tolist()
        side = side_px * int((largest + 1) ** drawn[0])  # shrinking by 1 to `largest`, small ones more often
        top, left = int(drawn[1] * (height - side + 1)), int(drawn[2] * (width - side + 1))
        crop = photo[:, top : top + side, left : left + side].float() / 255
        if side > side_px:
            crop = round_to_8_bit(bicubic_resize(crop, (side_px, side_px)))
        return crop.flip(-1) if drawn[3] < 0.5 else crop
