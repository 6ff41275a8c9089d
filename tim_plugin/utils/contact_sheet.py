"""Contact sheets: a row for each image: input, samples, where the samples differ, ground truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

GAP_PX = 6
LINE_PX = 24  # of text
_SMALLEST_TILE_PX = 128
LARGEST_TILE_PX = 384
_SHOWN_QUANTILE = 0.995  # the heat map's scale ends here, so that single pixels do not darken all others


class SheetRow(NamedTuple):
    """One image: ``lq`` (3, h, w), ``samples`` (n, 3, H, W), ``gt`` (3, H, W) or None; all in [0, 1]."""

    lq: Tensor
    samples: Tensor
    gt: Tensor | None
    label: str = ""


class _Column(NamedTuple):
    """A heading and a (3, H, W) tile or None for each row."""

    heading: str
    tiles: list[Tensor | None]


def contact_sheet(rows: Sequence[SheetRow], max_samples: int = 6) -> Tensor:
    """Draw a contact sheet: a row for each image with its input, samples, their deviation, and ground truth.

    Args:
        rows: One image or more. The input is enlarged by nearest neighbour to the samples' size. Tiles narrower than
            128 pixels are enlarged by a whole factor, tiles wider than 384 are shrunk.
        max_samples: Samples shown in a row; the deviation is taken over all that are given.

    Returns:
        (3, height, width) in [0, 1]. The heat map, which is there if a row has two samples or more, is the samples'
        per-pixel standard deviation (root mean square over the channels) on one scale for the whole sheet, which stands
        in its heading: from black (0) to pale yellow (the 99.5 % quantile).
    """
    columns = _columns(rows, max_samples)
    tiles = [[_scaled(tile) for tile in column.tiles if tile is not None] for column in columns]
    width = max(tile.shape[-1] for column in tiles for tile in column)
    lines = [text_line([column.heading for column in columns], width)]
    for index, row in enumerate(rows):
        if row.label:
            lines.append(text_line([row.label, *[""] * (len(columns) - 1)], width))
        lines.append(_tile_line([column.tiles[index] for column in columns], width))
    return F.pad(torch.cat(lines, dim=1), (GAP_PX, 0, 0, 0), value=1.0)


def _columns(rows: Sequence[SheetRow], max_samples: int) -> list[_Column]:
    shown = min(max(len(row.samples) for row in rows), max_samples)
    columns = [_Column("input", [_enlarged(row.lq, row.samples.shape[-2:]) for row in rows])]
    for j in range(shown):
        columns.append(_Column(f"sample {j}", [row.samples[j] if j < len(row.samples) else None for row in rows]))
    if any(len(row.samples) > 1 for row in rows):
        deviations = [_deviation(row.samples) if len(row.samples) > 1 else None for row in rows]
        values = np.concatenate([deviation.numpy().ravel() for deviation in deviations if deviation is not None])
        top = max(float(np.quantile(values, _SHOWN_QUANTILE)), 1 / 255)
        heat = [None if deviation is None else _heat(deviation / top) for deviation in deviations]
        columns.append(_Column(f"std 0 to {top:.2f}", heat))
    if any(row.gt is not None for row in rows):
        columns.append(_Column("ground truth", [row.gt for row in rows]))
    return columns


def _enlarged(image: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(image.float()[None], tuple(size), mode="nearest")[0]


def _deviation(samples: Tensor) -> Tensor:
    """(n, 3, H, W) -> (H, W)."""
    return samples.float().cpu().var(dim=0, unbiased=False).mean(dim=0).sqrt()


def _heat(values: Tensor) -> Tensor:
    """(H, W), 0 to 1 and more, -> (3, H, W)."""
    colours = cv2.applyColorMap(values.clamp(0, 1).mul(255).round().byte().numpy(), cv2.COLORMAP_INFERNO)
    return torch.from_numpy(np.ascontiguousarray(colours[..., ::-1].transpose(2, 0, 1))).float() / 255


def _scaled(tile: Tensor) -> Tensor:
    """Bring a tile to a width that can be seen and that fits."""
    tile = tile.detach().float().cpu().clamp(0, 1)
    height, width = tile.shape[-2:]
    if width > LARGEST_TILE_PX:
        size = (max(1, round(height * LARGEST_TILE_PX / width)), LARGEST_TILE_PX)
        return F.interpolate(tile[None], size, mode="area")[0]
    times = -(-_SMALLEST_TILE_PX // width)
    return tile.repeat_interleave(times, dim=1).repeat_interleave(times, dim=2)


def _tile_line(tiles: Sequence[Tensor | None], column_px: int) -> Tensor:
    """Put scaled tiles side by side, each in the middle of its column; white where there is none."""
    scaled = [torch.ones(3, 1, 1) if tile is None else _scaled(tile) for tile in tiles]
    height = max(tile.shape[-2] for tile in scaled)
    return torch.cat([_placed(tile, height + GAP_PX, column_px) for tile in scaled], dim=2)


def _placed(tile: Tensor, height: int, column_px: int) -> Tensor:
    left = (column_px - tile.shape[-1]) // 2
    right = column_px - tile.shape[-1] - left + GAP_PX
    return F.pad(tile, (left, right, 0, height - tile.shape[-2]), value=1.0)


def text_line(texts: Sequence[str], column_px: int) -> Tensor:
    """Write a text into each column; a text that its column cannot hold runs into the next.

    Args:
        texts: One for each column.
        column_px: Width of each, without the gap of GAP_PX behind it.

    Returns:
        (3, LINE_PX, width) in [0, 1].
    """
    step = column_px + GAP_PX
    line = np.full((LINE_PX, step * len(texts), 3), 255, np.uint8)
    for index, text in enumerate(texts):
        ascii_text = text.encode("ascii", "replace").decode()  # OpenCV's font has no more
        cv2.putText(
            line, ascii_text, (index * step, LINE_PX - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (40, 40, 40), 1, cv2.LINE_AA
        )
    return torch.from_numpy(np.ascontiguousarray(line.transpose(2, 0, 1))).float() / 255
