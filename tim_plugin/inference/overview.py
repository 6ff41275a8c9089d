"""One picture of all images of a run: input, first samples and their deviation, a line for each image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from torch.nn import functional as F

from tim_plugin.inference.image_samples import SampledImage
from tim_plugin.inference.outputs import sheet_row
from tim_plugin.utils.contact_sheet import PER_LINE, contact_sheet
from tim_plugin.utils.images import to_pixels, write_pixels

OVERVIEW = "samples_overview.png"  # samples end in _s00.png, sheets in _sheet.png
TILE_PX = 128
MOST_IMAGES = 150  # then it has some 25 megapixels


class Overview:
    """Collects a run's images, each as the line of pixels that shows it, so that the samples need not be kept.

    Attributes:
        num_images: That were added.
    """

    def __init__(self) -> None:
        self.num_images = 0
        self._lines: list[np.ndarray | Callable[[], SampledImage]] = []

    def add(self, image: SampledImage | Callable[[], SampledImage]) -> None:
        """Add an image, or a function that reads it, which is called when the picture is written."""
        self.num_images += 1
        if len(self._lines) < MOST_IMAGES:
            self._lines.append(_line(image) if isinstance(image, SampledImage) else image)

    def write(self, path: Path) -> None:
        """Write the picture.

        Raises:
            TimError: An image cannot be read.
            OSError: The picture cannot be written.
        """
        lines = [line if isinstance(line, np.ndarray) else _line(line()) for line in self._lines]
        height, width = sum(len(line) for line in lines), max(line.shape[1] for line in lines)
        pixels = np.full((height, width, 3), 255, np.uint8)
        top = 0
        for line in lines:
            pixels[top : top + len(line), : line.shape[1]] = line
            top += len(line)
        write_pixels(path, pixels)


def _line(image: SampledImage) -> np.ndarray:
    """Draw an image's line: its samples are shrunk, the sheet shrinks or enlarges the input with them."""
    row = sheet_row(image)
    height, width = row.samples.shape[-2:]
    samples = row.samples[:PER_LINE]
    if max(height, width) > TILE_PX:
        size = [max(1, round(side * TILE_PX / max(height, width))) for side in (height, width)]
        samples = F.interpolate(samples, size, mode="area")
    return to_pixels(contact_sheet([row._replace(samples=samples)], max_samples=PER_LINE))
