"""Contact sheets: a row for each image: input, samples, where the samples differ, ground truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

GAP_PX = 4
HEADER_PX = 22
SMALLEST_TILE_PX = 128
LARGEST_TILE_PX = 512


class SheetRow(NamedTuple):
    """One image: ``lq`` (3, h, w), ``samples`` (n, 3, H, W), ``gt`` (3, H, W) or None; all in [0, 1]."""

    lq: Tensor
    samples: Tensor
    gt: Tensor | None
    label: str = ""


def contact_sheet(rows: Sequence[SheetRow], max_samples: int = 6) -> Tensor:
    """Draw the sheet.

    Args:
        rows: Images; the input is enlarged by nearest neighbour, and tiles below 128 pixels are enlarged by a whole
            factor so that they can be seen.
        max_samples: Samples shown in a row; the deviation is taken over all that are given.

    Returns:
        (3, height, width) in [0, 1]. The heat map is the samples' per-pixel standard deviation (root mean square over
        the channels), black to yellow on one scale for the whole sheet, whose end stands in the heading.
    """
    deviations = [_deviation(row.samples) for row in rows]
    top = max(max(float(deviation.max()) for deviation in deviations), 1e-6)
    columns = max(min(len(row.samples), max_samples) for row in rows)
    with_gt = any(row.gt is not None for row in rows)
    headings = ["input", *(f"sample {j}" for j in range(columns)), f"std 0..{top:.2f}", *(["ground truth"] * with_gt)]
    lines = []
    for row, deviation in zip(rows, deviations, strict=True):
        size = tuple(row.samples.shape[-2:])
        tiles = [F.interpolate(row.lq[None], size, mode="nearest")[0], *row.samples[:max_samples]]
        tiles += [torch.ones(3, *size)] * (columns + 1 - len(tiles))
        tiles.append(_heat(deviation / top))
        if with_gt:
            tiles.append(torch.ones(3, *size) if row.gt is None else row.gt)
        lines.append([_scaled(tile.float().cpu().clamp(0, 1)) for tile in tiles])
    width = max(tile.shape[-1] for line in lines for tile in line)
    body = [torch.cat([_padded(tile, width) for tile in line], dim=2) for line in lines]
    return torch.cat([_heading(headings, width + GAP_PX), *body], dim=1)


def _deviation(samples: Tensor) -> Tensor:
    """(n, 3, H, W) -> (H, W)."""
    return samples.float().cpu().var(dim=0, unbiased=False).mean(dim=0).sqrt()


def _heat(values: Tensor) -> Tensor:
    """(H, W) in [0, 1] -> (3, H, W)."""
    colours = cv2.applyColorMap(values.mul(255).round().byte().numpy(), cv2.COLORMAP_INFERNO)
    return torch.from_numpy(np.ascontiguousarray(colours[..., ::-1].transpose(2, 0, 1))).float() / 255


def _scaled(tile: Tensor) -> Tensor:
    height, width = tile.shape[-2:]
    if width > LARGEST_TILE_PX:
        size = (max(1, round(height * LARGEST_TILE_PX / width)), LARGEST_TILE_PX)
        return F.interpolate(tile[None], size, mode="area")[0]
    times = -(-SMALLEST_TILE_PX // width)
    return tile.repeat_interleave(times, dim=1).repeat_interleave(times, dim=2)


def _padded(tile: Tensor, width: int) -> Tensor:
    """Put white to the right, up to ``width``, and the gap to the right and below."""
    return F.pad(tile, (0, width - tile.shape[-1] + GAP_PX, 0, GAP_PX), value=1.0)


def _heading(texts: Sequence[str], column_px: int) -> Tensor:
    line = np.full((HEADER_PX, column_px * len(texts), 3), 255, np.uint8)
    for index, text in enumerate(texts):
        cv2.putText(line, text, (index * column_px + 4, HEADER_PX - 7), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1,
                    cv2.LINE_AA)
    return torch.from_numpy(line.transpose(2, 0, 1).copy()).float() / 255
