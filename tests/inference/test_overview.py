"""What shows many samples and many images at a glance: the contact sheet of all samples, and a run's overview."""

from __future__ import annotations

import json
import weakref

import cv2
import numpy as np
import pytest
import torch

from tim_plugin.inference.outputs import SampleWriter, output_files
from tim_plugin.inference.overview import MOST_IMAGES, TILE_PX, Overview
from tim_plugin.utils.background import Writer
from tim_plugin.utils.contact_sheet import GAP_PX, LINE_PX, PER_LINE, SheetRow, contact_sheet
from tim_plugin.utils.images import read_image, round_to_8_bit, write_png

SAMPLE = (80, 96)  # of a frame of 5x6, enlarged twice to 160x192 on a sheet
TILE = (160, 192)


def step(lines, columns):
    return lines * (TILE[0] + GAP_PX + LINE_PX), GAP_PX + columns * (TILE[1] + GAP_PX)


def test_the_sheet_of_eight_samples_shows_all_eight(tmp_path, frames, command):
    assert command("-n", 8, source=frames / "f0.png")[0] == 0
    sheet = read_image(tmp_path / "out" / "f0_sheet.png").rgb
    height, width = step(2, 6)  # input, four samples, deviation; and four samples more
    assert sheet.shape == (3, height + LINE_PX, width)  # with a line that names the image
    for j in range(8):
        top = 2 * LINE_PX if j < 4 else 3 * LINE_PX + TILE[0] + GAP_PX
        left = GAP_PX + (1 + j % 4) * (TILE[1] + GAP_PX)
        sample = read_image(tmp_path / "out" / f"f0_s0{j}.png").rgb
        assert sample.shape[1:] == SAMPLE
        shown = sheet[:, top : top + TILE[0], left : left + TILE[1]]
        assert torch.equal(shown, sample.repeat_interleave(2, 1).repeat_interleave(2, 2)), j


def test_a_sheet_that_would_be_too_large_says_what_it_shows(tmp_path, frames, command, monkeypatch):
    monkeypatch.setattr("tim_plugin.utils.contact_sheet.MOST_PIXELS", 400_000)  # one line of samples
    status, _, errors = command("-n", 8, source=frames / "f0.png")
    assert status == 0 and f"{tmp_path / 'out' / 'f0_sheet.png'}: shows the first 6 of 8 samples, for its" in errors
    assert read_image(tmp_path / "out" / "f0_sheet.png").rgb.shape[1] == step(1, 8)[0] + LINE_PX


def test_what_a_sheet_does_not_show_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("tim_plugin.utils.contact_sheet.MOST_PIXELS", 1)  # one line of samples
    files, arrays = output_files(tmp_path, "x", 4 * PER_LINE), []
    with Writer() as writer:
        image_writer = SampleWriter(writer, files, None, shrink=False)
        for _ in files.samples:
            array = np.random.rand(1, 3, 64, 64).astype(np.float32)
            arrays.append(weakref.ref(array))
            image_writer.add(torch.from_numpy(array))
            del array
        image_writer.finish("x", torch.rand(3, 8, 8))
    assert all(path.is_file() for path in files.all())
    assert sum(array() is not None for array in arrays) <= PER_LINE + 1  # and the one that was added last


@pytest.mark.parametrize("size", [(3, 40, 50), (1, 30, 500), (3, 800, 450)])
def test_a_sheet_of_samples_that_come_some_at_a_time_is_that_of_all(tmp_path, size):
    files, picture = output_files(tmp_path, "x", 9), torch.rand(3, 10, 12)
    samples = round_to_8_bit(torch.rand(size) * 0.5 + torch.rand(9, *size) * 0.5)
    with Writer() as writer:
        image_writer = SampleWriter(writer, files, None, shrink=False)
        for some in samples.split(4):
            image_writer.add(some)
        image_writer.finish("x", picture)
    expected = contact_sheet([SheetRow(picture, samples.expand(-1, 3, -1, -1), None, "x")])
    assert torch.equal(read_image(files.sheet).rgb, round_to_8_bit(expected))


def test_a_folder_gets_one_overview_that_is_no_input_later(tmp_path, frames, command):
    write_png(frames / "samples.png", torch.rand(3, 12, 3))
    output, overview = tmp_path / "out", tmp_path / "out" / "samples_overview.png"
    assert command("-n", 2)[0] == 0
    record = json.loads((output / "samples.json").read_text())
    assert record["overview"] == overview.name and len(record["images"]) == 4
    picture = cv2.imread(str(overview))
    of_frame, of_other = (2 * LINE_PX + height + GAP_PX for height in (TILE[0], 512))  # 48x192: shrunk, then enlarged
    assert picture.shape[:2] == (3 * of_frame + of_other, step(1, 4)[1])  # input, two samples, deviation
    before = overview.read_bytes()

    overview.unlink()
    assert command("-n", 2, "--skip-existing")[0] == 0  # made of what is there, as it was
    assert overview.read_bytes() == before
    assert command(source=frames / "f1.png")[0] == 0  # one image: the overview stays, and stays listed
    assert json.loads((output / "samples.json").read_text())["overview"] == overview.name
    status, _, errors = command(source=output, output=tmp_path / "second")
    assert status == 2 and "holds no image but what an earlier run wrote" in errors


def test_without_sheets_there_is_no_overview(tmp_path, command):
    assert command("--no-contact-sheet")[0] == 0
    assert not (tmp_path / "out" / "samples_overview.png").exists()
    assert "overview" not in json.loads((tmp_path / "out" / "samples.json").read_text())


def test_an_overview_of_very_many_images_has_the_first_of_them(tmp_path):
    from tim_plugin.inference.image_samples import SampledImage

    overview = Overview()
    image = SampledImage("name", torch.rand(3, 4, 4), torch.rand(2, 3, TILE_PX, TILE_PX), None)
    for _ in range(MOST_IMAGES + 1):
        overview.add(lambda: image)
    overview.write(tmp_path / "all.png")
    assert overview.num_images == MOST_IMAGES + 1
    line = 2 * LINE_PX + TILE_PX + GAP_PX
    assert cv2.imread(str(tmp_path / "all.png")).shape[0] == MOST_IMAGES * line
