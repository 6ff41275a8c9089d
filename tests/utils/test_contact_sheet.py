"""The contact sheet: each part stands where its heading says."""

from __future__ import annotations

import pytest
import torch

from tim_plugin.utils.contact_sheet import (
    GAP_PX,
    LINE_PX,
    MOST_PIXELS,
    PER_LINE,
    SheetRow,
    contact_sheet,
    num_shown,
    shrunk_to_tile,
)

STEP = 128 + GAP_PX


def tile(sheet, top, column, height=128, width=128):
    left = GAP_PX + column * STEP
    return sheet[:, top : top + height, left : left + width]


def test_a_row_holds_input_samples_deviation_and_ground_truth():
    samples = torch.rand(8, 3, 128, 128)
    samples[:, :, :64] = 0.5  # no deviation in the upper half
    row = SheetRow(torch.rand(3, 8, 8), samples, torch.rand(3, 128, 128))
    sheet = contact_sheet([row, SheetRow(torch.rand(3, 8, 8), samples[:2], None)], max_samples=6)
    assert sheet.shape == (3, LINE_PX + 2 * STEP, GAP_PX + 9 * STEP)
    assert torch.equal(tile(sheet, LINE_PX, 0), row.lq.repeat_interleave(16, 1).repeat_interleave(16, 2))
    for index in range(6):
        assert torch.equal(tile(sheet, LINE_PX, 1 + index), samples[index])
    heat = tile(sheet, LINE_PX, 7)
    assert heat[:, :64].mean() < 0.02 < heat[:, 64:].mean()
    assert torch.equal(tile(sheet, LINE_PX, 8), row.gt)
    second = LINE_PX + STEP
    assert torch.equal(tile(sheet, second, 2), samples[1])
    assert (tile(sheet, second, 3) == 1).all() and (tile(sheet, second, 8) == 1).all()  # white: nothing to show


def test_the_deviation_is_over_all_samples_on_one_scale():
    """Only samples that are not shown differ; the weaker row must be darker."""
    strong, weak = torch.full((2, 4, 3, 128, 128), 0.5)
    strong[3], weak[3] = 0.9, 0.6
    sheet = contact_sheet([SheetRow(torch.rand(3, 8, 8), samples, None) for samples in (strong, weak)], max_samples=1)
    assert tile(sheet, LINE_PX, 2).mean() > 2 * tile(sheet, LINE_PX + STEP, 2).mean() > 0


def test_one_sample_has_no_deviation():
    sheet = contact_sheet([SheetRow(torch.rand(3, 8, 8), torch.rand(1, 3, 128, 128), None)])
    assert sheet.shape[-1] == GAP_PX + 2 * STEP


def test_rows_of_different_sizes_and_with_names():
    rows = [
        SheetRow(torch.rand(3, 2, 3), torch.rand(2, 3, 32, 48), torch.rand(3, 32, 48), "small"),
        SheetRow(torch.rand(3, 40, 60), torch.rand(2, 3, 640, 960), torch.rand(3, 640, 960), "gro\u00df"),
    ]
    sheet = contact_sheet(rows)
    assert sheet.min() >= 0 and sheet.max() <= 1
    # 48 pixels are enlarged three times, 960 shrunk to 384; a line of text above each.
    assert sheet.shape == (3, 3 * LINE_PX + 96 + 256 + 2 * GAP_PX, GAP_PX + 5 * (384 + GAP_PX))
    with_text = sheet[:, LINE_PX : 2 * LINE_PX, :384]
    assert with_text.min() < 0.5


@pytest.mark.parametrize(
    ("height", "width", "high"), [(2400, 8, 2400), (48, 1, 768), (60_000, 8, 2**25 // (9 * 134) - 30)]
)
def test_a_narrow_image_is_enlarged_to_a_height_that_fits_and_shrunk_where_a_line_would_not(height, width, high):
    row = SheetRow(torch.rand(3, height // 4, 2), torch.rand(8, 3, height, width), None)
    sheet = contact_sheet([row])
    lines = 2 if num_shown(8, height, width) == 8 else 1
    assert sheet.shape[1] == lines * (LINE_PX + high + GAP_PX) + (LINE_PX if lines == 1 else 0)
    assert sheet[0].numel() <= MOST_PIXELS
    tile = shrunk_to_tile(row.samples[0])
    assert tile.shape[1] == min(height, high) and torch.equal(tile, shrunk_to_tile(tile))


@pytest.mark.parametrize(
    ("size", "tile_px"),
    [
        ((28, 28), (140, 140)),
        ((96, 64), (192, 128)),
        ((280, 127), (560, 254)),
        ((2000, 300), (2000, 300)),
        ((64, 1000), (25, 384)),
        ((1200, 400), (1152, 384)),
        ((1, 3000), (1, 384)),
    ],
)
def test_ordinary_images_are_wide_enough_to_be_seen_and_fit(size, tile_px):
    sheet = contact_sheet([SheetRow(torch.rand(3, 2, 2), torch.rand(1, 3, *size), None)])
    assert sheet.shape[1:] == (LINE_PX + tile_px[0] + GAP_PX, GAP_PX + 2 * (tile_px[1] + GAP_PX))
    assert num_shown(9, *size) >= PER_LINE
