"""Very large images: tensors on disk, strip by strip, and files written by rows give what memory would have given."""

from __future__ import annotations

import errno
import os
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tim_plugin.degradations.base import Observed
from tim_plugin.degradations.bicubic import Bicubic
from tim_plugin.degradations.jpeg import Jpeg
from tim_plugin.degradations.lightness import Lightness
from tim_plugin.degradations.unknown import Unknown
from tim_plugin.imle.latents import LevelShape, draw_level
from tim_plugin.inference.files import sample_files
from tim_plugin.inference.finishing import finish
from tim_plugin.inference.image_samples import sample_image
from tim_plugin.inference.png_rows import write_png_rows, write_very_large
from tim_plugin.inference.tiled_tower import TiledTower
from tim_plugin.utils.checkpoints import save_atomically
from tim_plugin.utils.disk_tensors import empty_like, is_on_disk, on_disk, release
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.images import write_png
from tim_plugin.utils.memory import peak_bytes
from tim_plugin.utils.resize import bicubic_resize
from tim_plugin.utils.strips import by_strips, strips
from tim_plugin.utils.trees import map_tensors


@pytest.fixture
def small_strips(monkeypatch):
    """Everything is very large, and a strip has 2,000 values."""
    for name, value in (("VERY_LARGE", 0), ("STRIP_VALUES", 2000)):
        monkeypatch.setattr(f"tim_plugin.utils.strips.{name}", value)
    monkeypatch.setattr("tim_plugin.imle.latents.DRAWN_AT_ONCE", 64)


def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_tensor_on_disk_is_as_any_other_and_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    made = on_disk(2, 30, 40)
    made.copy_(torch.arange(2400.0).view(2, 30, 40))
    part = made[1, 3:5]
    assert is_on_disk(made) and is_on_disk(part) and not is_on_disk(torch.zeros(3))
    assert is_on_disk(empty_like(part)) and not is_on_disk(empty_like(torch.zeros(3)))
    release(made, torch.zeros(3))
    del made
    assert torch.equal(part, torch.arange(1320.0, 1400.0).view(2, 40))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="what a process takes is read as Linux tells it")
def test_what_is_released_takes_no_memory_and_keeps_its_values():
    size = 2**26
    made = on_disk(size // 4)
    before = resident_bytes()
    made.fill_(3.0)
    filled = resident_bytes()
    release(made)
    assert filled - before > 0.9 * size and resident_bytes() - before < 0.1 * size
    assert made.min() == made.max() == 3


def test_a_full_disk_is_a_clear_error(monkeypatch):
    def full(descriptor, start, size):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(TimError, match="has no room for a temporary file of 1.0 GiB .* TMPDIR"):
        on_disk(2**28)


def test_a_system_without_reservations_looks_at_the_room_first(monkeypatch):
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    assert on_disk(3, 4).fill_(2.0).sum() == 24
    with pytest.raises(TimError, match="has no room for a temporary file of 1073741824.0 GiB .No space"):
        on_disk(2**58)


@pytest.mark.parametrize("step", [1, 16])
def test_strips_cover_the_rows_in_order(small_strips, step):
    images = torch.rand(2, 3, 70, 10)
    found = list(strips(images, step))
    assert len(found) > 1 and all((one.stop - one.start) % step == 0 for one in found[:-1])
    assert [row for one in found for row in range(one.start, one.stop)] == list(range(70))
    assert torch.equal(by_strips(lambda part, rows: part + rows.start * 0, images, step), images)


@pytest.mark.parametrize("shape", [(2, 9, 7), (5, 32, 32), (1, 3, 3)])
def test_noise_drawn_in_parts_is_what_randn_gives(small_strips, shape):
    whole = [torch.Generator().manual_seed(5) for _ in range(2)]
    expected = [torch.randn(2, *size, generator=whole[0]) for size in (shape, (8,))]
    found = draw_level(LevelShape(shape, (8,)), 2, whole[1], on_disk)
    assert all(is_on_disk(one) for one in found)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_png_by_rows_is_read_as_it_was_written(tmp_path, channels):
    pixels = np.random.default_rng(0).integers(0, 256, (23, 17, channels), np.uint8)
    path = tmp_path / "new" / "a.png"
    write_png_rows(path, 23, 17, channels, (pixels[top : top + 5] for top in range(0, 23, 5)))
    found = cv2.imread(str(path), cv2.IMREAD_UNCHANGED).reshape(23, 17, channels)
    assert np.array_equal(found, pixels[..., {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[channels]])


def test_a_png_that_fails_on_the_way_leaves_what_was_there(tmp_path):
    def broken():
        yield np.zeros((2, 4, 3), np.uint8)
        raise OSError("no more")

    path = tmp_path / "a.png"
    path.write_bytes(b"before")
    with pytest.raises(OSError, match="no more"):
        write_png_rows(path, 4, 4, 3, broken())
    assert path.read_bytes() == b"before" and list(tmp_path.iterdir()) == [path]


def test_a_very_large_image_is_written_with_its_alpha(tmp_path, small_strips):
    image, alpha = torch.rand(3, 48, 64), torch.rand(1, 12, 16)
    write_very_large(tmp_path / "a.png", image, alpha)
    write_png(tmp_path / "b.png", torch.cat([image, bicubic_resize(alpha, (48, 64))]))
    found, expected = (cv2.imread(str(tmp_path / name), cv2.IMREAD_UNCHANGED) for name in ("a.png", "b.png"))
    assert np.array_equal(found, expected)


def photograph(height, width):
    data = pytest.importorskip("skimage.data")
    return torch.from_numpy(data.astronaut()[:height, 100 : 100 + width].copy()).permute(2, 0, 1).float() / 255


DEGRADATIONS = {
    "bicubic": (Bicubic(4), (64, 48)),
    "lightness": (Lightness(), (50, 37)),
    "jpeg": (Jpeg(20), (80, 64)),
    "jpeg, odd sides": (Jpeg(20), (75, 53)),
    "jpeg, no sub-sampling": (Jpeg(20, "4:4:4"), (75, 53)),
}


@pytest.mark.parametrize("name", DEGRADATIONS)
@pytest.mark.parametrize("on", ["disk", "memory"])
def test_strips_project_and_measure_as_the_whole(request, name, on):
    degradation, size = DEGRADATIONS[name]
    gt = photograph(*size)
    observed = map_tensors(lambda tensor: tensor[None], degradation.degrade(gt))
    images = (gt + 0.1 * torch.randn(gt.shape, generator=torch.Generator().manual_seed(0)))[None]
    below, right = (-side % 16 if isinstance(degradation, Jpeg) else 0 for side in size)
    padded = F.pad(images, (0, right, 0, below), mode="replicate")
    given = {"lq": observed.lq, **observed.given}
    whole, saved = degradation.project(padded, given), degradation.project_for_saving(images, observed)
    agreement, kept = degradation.measure(saved, observed), images.clone()
    request.getfixturevalue("small_strips")
    place = (lambda tensor: on_disk(*tensor.shape).copy_(tensor)) if on == "disk" else (lambda tensor: tensor)
    found = degradation.project(place(padded), given)
    assert torch.allclose(found, whole, atol=1e-5) and is_on_disk(found) == (on == "disk")
    by_rows = degradation.project_for_saving(place(images), observed)
    assert is_on_disk(by_rows) == (on == "disk") and torch.equal(images, kept)
    assert torch.equal(by_rows, by_rows.mul(255).round().div(255)) and (by_rows - saved).abs().mean() < 1 / 255
    for key, value in degradation.measure(saved, observed).items():
        assert torch.allclose(value, agreement[key], rtol=1e-5)
    better = 1 if degradation.measured[key].better == "higher" else -1
    assert better * degradation.measure(by_rows, observed)[key] >= better * agreement[key] - 0.01 * abs(agreement[key])


def test_a_batch_of_very_large_images_is_a_batch_of_each(small_strips):
    degradation = Jpeg(20)
    both = [map_tensors(lambda t: t[None], Jpeg(20, kind).degrade(photograph(48, 32))) for kind in ("4:2:0", "4:4:4")]
    images = torch.rand(2, 3, 48, 32, generator=torch.Generator().manual_seed(0))
    joined = Observed(
        torch.cat([one.lq for one in both]), {k: torch.cat([one.given[k] for one in both]) for k in both[0].given}
    )
    found = degradation.project_for_saving(images, joined)
    for n, one in enumerate(both):
        assert torch.equal(found[n : n + 1], degradation.project_for_saving(images[n : n + 1], one))


def test_unprojected_samples_are_rounded_where_they_lie(small_strips):
    images = on_disk(1, 3, 40, 30).copy_(torch.rand(1, 3, 40, 30) * 1.2 - 0.1)
    found = finish(images, Observed(images), None, "off")
    assert is_on_disk(found) and torch.equal(found, images.clamp(0, 1).mul(255).round().div(255))


@pytest.mark.parametrize(
    ("arguments", "inputs"),
    [
        ({"consistency": "project"}, 0),
        ({"consistency": "project", "fade_contrast": 0.1}, 0),
        ({"placement": "same", "num_levels": 3}, 2),  # what is as large as the output
    ],
    ids=["enlarging, consistent", "enlarging, consistent, faded", "same size"],
)
def test_memory_grows_with_the_input_alone(tiny_tower, small_strips, arguments, inputs):
    tower = tiny_tower(**arguments).eval().requires_grad_(False)
    taken = []
    for side in (192, 384):
        tiled = TiledTower(tower, 32, 0, images_on_disk=True)
        lq = torch.rand(1, 3, *[side // tower.spec.scale] * 2, generator=torch.Generator().manual_seed(0))
        lq = lq.mul(0.4).add(0.3)
        found = []
        taken.append(peak_bytes(lambda: found.append(sample_image(tiled, lq, 1, 0, "x"))))  # noqa: B023
        assert found[0].shape == (1, 3, side, side) and is_on_disk(found[0])
        whole = sample_image(tower, lq, 1, 0, "x")
        assert (found[0] - whole).abs().max() < 1.5 / 255
    assert taken[1] < 1.25 * taken[0] + inputs * 4 * 3 * (384**2 - 192**2)  # the image is four times as large


@pytest.mark.parametrize(
    ("degradation", "side", "on_the_disk"),
    [(Bicubic(16), 1024, True), (Bicubic(16), 1024, False), (Lightness(), 256, True), (Jpeg(), 256, True)],
)
def test_strips_take_the_memory_that_is_planned_for(monkeypatch, degradation, side, on_the_disk):
    monkeypatch.setattr("tim_plugin.utils.strips.VERY_LARGE", 0)
    for module in ("utils.strips", "degradations.base"):
        monkeypatch.setattr(f"tim_plugin.{module}.STRIP_VALUES", 3 * 256 * 48)
    gt, images = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    observed = map_tensors(lambda tensor: tensor[None], degradation.degrade(gt, torch.Generator()))
    images = on_disk(1, *gt.shape).copy_(images) if on_the_disk else images[None]
    with torch.no_grad():
        taken = peak_bytes(lambda: degradation.project_for_saving(images, observed))
    taken += 0 if on_the_disk else 4 * images.numel()
    planned = degradation.saving_bytes(3, side, side, on_the_disk)
    assert 0.6 * planned <= taken <= planned


def test_a_folder_with_images_on_disk_gives_what_memory_gives(tmp_path, tiny_tower, tiny_network, small_strips):
    network = {**tiny_network, "consistency": "project"}
    save_atomically(
        {"params": tiny_tower(consistency="project").state_dict(), "network_g": network}, tmp_path / "n.pth"
    )
    pixels = torch.rand(4, 6, 7, generator=torch.Generator().manual_seed(0)) * 0.4 + 0.3
    write_png(tmp_path / "photo.png", pixels)
    found = []
    for name, plan in (("memory", False), ("disk", True)):
        make = partial(lambda on, tower, side, maps, _: TiledTower(tower, side, maps, on), plan)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("tim_plugin.inference.memory_plan.TiledTower", make)
            sample_files(tmp_path / "photo.png", tmp_path / name, tmp_path / "n.pth", num_samples=2, tile=24)
        found.append([cv2.imread(str(one), cv2.IMREAD_UNCHANGED) for one in sorted((tmp_path / name).glob("*.png"))])
    assert [one.shape for one in found[0]] == [one.shape for one in found[1]] and found[0][0].shape == (96, 112, 4)
    assert all(np.array_equal(a, b) for a, b in zip(*found, strict=True))


def test_what_has_no_projection_takes_three_copies():
    assert Unknown().saving_bytes(3, 10, 10) == 3 * 4 * 300
