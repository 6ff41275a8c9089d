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
_HIGHEST_ENLARGED_PX = 2 * LARGEST_TILE_PX  # what is higher is narrow, not small
PER_LINE = 6  # samples side by side
MOST_PIXELS = 2**25  # of a sheet: beyond that many programs do not open it
_SHOWN_QUANTILE = 0.995  # the heat map's scale ends here, so that single pixels do not darken all others


class AllSamples(NamedTuple):
    """Of all samples of an image, where no more than the shown ones are kept: how many, and their deviation (H, W)."""

    number: int
    deviation: Tensor


class SheetRow(NamedTuple):
    """One image: ``lq`` (3, h, w), ``samples`` (n, 3, H, W), ``gt`` (3, H, W) or None; all in [0, 1].

    With ``all_samples``, ``samples`` are those that the sheet shows, of the size of :func:`shrunk_size`.
    """

    lq: Tensor
    samples: Tensor
    gt: Tensor | None
    label: str = ""
    all_samples: AllSamples | None = None


class _Column(NamedTuple):
    """A heading and a (3, H, W) tile or None for each row."""

    heading: str
    tiles: list[Tensor | None]


def contact_sheet(rows: Sequence[SheetRow], max_samples: int | None = None) -> Tensor:
    """Draw a contact sheet: for each image its input, samples, their deviation, and ground truth.

    Args:
        rows: One image or more. The input is enlarged by nearest neighbour to the samples' size. Tiles narrower than
            128 pixels are enlarged by a whole factor, up to a height of 768; tiles wider than 384, or so high that a
            line of them would have more than 2^25 pixels, are shrunk.
        max_samples: Samples shown of an image, side by side; the deviation is taken over all that are given. None: all,
            in lines of at most six; but no more than :func:`num_shown`, which the image's line of text then says.

    Returns:
        (3, height, width) in [0, 1]. The heat map, which is there if a row has two samples or more, is the samples'
        per-pixel standard deviation (root mean square over the channels) on one scale for the whole sheet, which stands
        in its heading: from black (0) to pale yellow (the 99.5 % quantile).
    """
    if max_samples is None:
        rows = [_labelled(row, len(rows)) for row in rows]
        shown = max(num_shown(*_size(row), len(rows)) for row in rows)
        per_line = -(-shown // -(-shown // PER_LINE))  # 8 samples are two lines of 4
    else:
        shown = per_line = min(max(_size(row)[0] for row in rows), max_samples)
    wrapped = _wrapped(rows, shown, per_line)
    sizes = [tile_size(*tile.shape[-2:]) for column in sum(wrapped, []) for tile in column.tiles if tile is not None]
    width = max(_SMALLEST_TILE_PX, *(size[1] for size in sizes))
    lines: list[Sequence[str] | Sequence[Tensor | None]] = []  # of text, or of tiles
    for index, row in enumerate(rows):
        for number, columns in enumerate(wrapped):
            if index == 0 or len(wrapped) > 1:
                lines.append([column.heading for column in columns])
            if row.label and number == 0:
                lines.append([row.label, *[""] * (len(columns) - 1)])
            lines.append([column.tiles[index] for column in columns])
    return _drawn(lines, width)


def _drawn(lines: Sequence[Sequence[str] | Sequence[Tensor | None]], column_px: int) -> Tensor:
    """Draw one line after the other, so that a large sheet is held once."""
    heights = [_line_height(line) for line in lines]
    sheet = torch.ones(3, sum(heights), GAP_PX + len(lines[0]) * (column_px + GAP_PX))
    for line, part in zip(lines, sheet.split(heights, dim=1), strict=True):
        part[..., GAP_PX:] = (text_line if isinstance(line[0], str) else _tile_line)(line, column_px)
    return sheet


def _line_height(line: Sequence[str] | Sequence[Tensor | None]) -> int:
    if isinstance(line[0], str):
        return LINE_PX
    return GAP_PX + max((tile_size(*tile.shape[-2:])[0] for tile in line if tile is not None), default=1)


def num_shown(num_samples: int, height: int, width: int, num_images: int = 1) -> int:
    """Return how many samples of this size a sheet shows of each image: all, unless it had more than 2^25 pixels."""
    return min(num_samples, most_shown(height, width, num_images))


def most_shown(height: int, width: int, num_images: int = 1) -> int:
    """Return how many samples of this size a sheet shows of each image at most."""
    height, width = tile_size(height, width)
    line = (height + GAP_PX + LINE_PX) * _line_width(width) * num_images
    return PER_LINE * max(MOST_PIXELS // line, 1)


def _line_width(tile_px: int) -> int:
    """Return the width of a full line: the input, the samples, and the two columns that may stand behind them."""
    return (PER_LINE + 3) * (max(tile_px, _SMALLEST_TILE_PX) + GAP_PX)


def _size(row: SheetRow) -> tuple[int, int, int]:
    """Return how many samples there are of an image, and their height and width."""
    if row.all_samples is None:
        return len(row.samples), *row.samples.shape[-2:]
    return row.all_samples.number, *row.all_samples.deviation.shape


def _labelled(row: SheetRow, num_images: int) -> SheetRow:
    number, height, width = _size(row)
    shown = num_shown(number, height, width, num_images)
    if shown == number:
        return row
    return row._replace(label=f"{row.label} (the first {shown} of {number} samples)".strip())


def _wrapped(rows: Sequence[SheetRow], shown: int, per_line: int) -> list[list[_Column]]:
    """Return the columns of each line of an image: input, samples and what stands behind them; then further samples."""
    samples = [
        _Column(f"sample {j}", [row.samples[j] if j < len(row.samples) else None for row in rows]) for j in range(shown)
    ]
    blank, behind = _Column("", [None] * len(rows)), _behind(rows)
    lines = [[_input(rows), *samples[:per_line], *behind]]
    for start in range(per_line, shown, per_line):
        line = [blank, *samples[start : start + per_line]]
        lines.append([*line, *[blank] * (len(lines[0]) - len(line))])
    return lines


def _input(rows: Sequence[SheetRow]) -> _Column:
    return _Column("input", [_enlarged(row.lq, _size(row)[1:]) for row in rows])


def _behind(rows: Sequence[SheetRow]) -> list[_Column]:
    """Return the columns of deviation and ground truth, as far as there are any."""
    columns = []
    if any(_size(row)[0] > 1 for row in rows):
        deviations = [_deviation_of(row) if _size(row)[0] > 1 else None for row in rows]
        top = _top([deviation for deviation in deviations if deviation is not None])
        heat = [None if deviation is None else _heat(deviation / top) for deviation in deviations]
        columns.append(_Column(f"std 0 to {top:.2f}", heat))
    if any(row.gt is not None for row in rows):
        columns.append(_Column("ground truth", [row.gt for row in rows]))
    return columns


def _enlarged(image: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(image.float()[None], tuple(size), mode="nearest")[0]


def deviation_map(samples: Tensor) -> Tensor:
    """Return where samples (n, 3, H, W) differ, as a sheet shows it: (3, H, W), black where they do not."""
    deviation = _deviation(samples)
    return _heat(deviation / _top([deviation]))


def _top(deviations: Sequence[Tensor]) -> float:
    """Return the deviation that is shown brightest."""
    values = np.concatenate([deviation.numpy().ravel() for deviation in deviations])
    return max(float(np.quantile(values, _SHOWN_QUANTILE)), 1 / 255)


def _deviation_of(row: SheetRow) -> Tensor:
    return _deviation(row.samples) if row.all_samples is None else row.all_samples.deviation


def _deviation(samples: Tensor) -> Tensor:
    """(n, 3, H, W) -> (H, W)."""
    return samples.float().cpu().var(dim=0, unbiased=False).mean(dim=0).sqrt()


def _heat(values: Tensor) -> Tensor:
    """(H, W), 0 to 1 and more, -> (3, H, W)."""
    colours = cv2.applyColorMap(values.clamp(0, 1).mul(255).round().byte().numpy(), cv2.COLORMAP_INFERNO)
    return torch.from_numpy(np.ascontiguousarray(colours[..., ::-1].transpose(2, 0, 1))).float() / 255


def tile_size(height: int, width: int) -> tuple[int, int]:
    """Return the height and width of a tile of an image: such that it can be seen, and that a line of tiles fits."""
    if width > LARGEST_TILE_PX:
        height, width = max(1, round(height * LARGEST_TILE_PX / width)), LARGEST_TILE_PX
    else:
        times = max(1, min(-(-_SMALLEST_TILE_PX // width), _HIGHEST_ENLARGED_PX // height))
        height, width = times * height, times * width
    highest = max(1, MOST_PIXELS // _line_width(width) - GAP_PX - LINE_PX)
    return (height, width) if height <= highest else (highest, max(1, round(width * highest / height)))


def shrunk_size(height: int, width: int) -> tuple[int, int]:
    """Return the height and width of an image's tile where that is smaller, else the image's."""
    rows, columns = tile_size(height, width)
    return (rows, columns) if rows < height or columns < width else (height, width)


def shrunk_to_tile(image: Tensor) -> Tensor:
    """Return an image (3, H, W) in [0, 1] as a sheet shows it where that is smaller, else as it is."""
    return image if shrunk_size(*image.shape[-2:]) == image.shape[-2:] else _scaled(image)


def _scaled(tile: Tensor) -> Tensor:
    """Bring a tile to its size."""
    tile = tile.detach().float().cpu().clamp(0, 1)
    height, width = tile.shape[-2:]
    size = tile_size(height, width)
    times = size[1] // width
    if size == (times * height, times * width):
        return tile.repeat_interleave(times, dim=1).repeat_interleave(times, dim=2)
    return F.interpolate(tile[None], size, mode="area")[0]


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
