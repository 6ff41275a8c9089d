"""The dataset: crops that depend on (seed, epoch, index) alone, LQ from the returned GT, named errors."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from basicsr.data import build_dataset
from basicsr.data.data_sampler import EnlargedSampler
from basicsr.utils.lmdb_util import make_lmdb_from_imgs
from torch.utils.data import DataLoader

from tim_plugin.data.degraded_image_dataset import DegradedImageDataset
from tim_plugin.data.keyed_sampler import KeyedSampler
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.images import read_image, write_png
from tim_plugin.utils.resize import bicubic_resize


def options(photos, **changes):
    return {
        "name": "photos",
        "type": "DegradedImageDataset",
        "task": "sr16x",
        "dataroot_gt": str(photos),
        "gt_size": 32,
        "use_hflip": True,
        "use_rot": True,
        "phase": "train",
        "scale": 16,
        "seed": 3,
        **changes,
    }


def epoch_of(dataset, epoch, workers=0, ratio=3):
    """All GT crops of an epoch, in the sampler's order."""
    sampler = KeyedSampler(dataset, 1, 0, ratio)
    sampler.set_epoch(epoch)
    return torch.cat([batch["gt"] for batch in DataLoader(dataset, 6, sampler=sampler, num_workers=workers)])


def test_it_is_registered_and_gives_basicsrs_keys(photos):
    item = build_dataset(options(photos))[0]
    assert set(item) == {"lq", "gt", "lq_path", "gt_path"}
    assert item["gt"].shape == (3, 32, 32) and item["lq"].shape == (3, 2, 2)
    assert item["gt"].dtype == item["lq"].dtype == torch.float32
    assert item["gt_path"].endswith("photo00.png")


def test_lq_is_the_degraded_crop(photos):
    for index in range(6):
        item = DegradedImageDataset(options(photos))[index]
        expected = bicubic_resize(item["gt"], (2, 2)).clamp(0, 1).mul(255).round().div(255)
        assert torch.equal(item["lq"], expected)


def test_crops_depend_on_seed_epoch_and_index_alone(photos):
    dataset = DegradedImageDataset(options(photos))
    first = epoch_of(dataset, 1)
    torch.manual_seed(77)
    assert torch.equal(epoch_of(DegradedImageDataset(options(photos)), 1, workers=2), first)
    assert not torch.equal(epoch_of(DegradedImageDataset(options(photos, seed=4)), 1), first)


def test_each_epoch_and_each_repetition_of_an_image_is_cropped_anew(photos):
    dataset = DegradedImageDataset(options(photos))
    seen = []
    for epoch in (0, 1):
        dataset.set_epoch(epoch)
        seen += [dataset[index]["gt"] for index in (2, 2 + len(dataset), 2 + 2 * len(dataset))]
    assert all(not torch.equal(seen[i], seen[j]) for i in range(6) for j in range(i))


def test_workers_that_live_on_see_the_new_epoch(photos):
    dataset = DegradedImageDataset(options(photos))
    sampler = KeyedSampler(dataset, 1, 0, 1)
    loader = DataLoader(dataset, 6, sampler=sampler, num_workers=1, persistent_workers=True)
    for epoch in (0, 1):
        sampler.set_epoch(epoch)
        expected = torch.stack([dataset[index]["gt"] for index in sampler])
        assert torch.equal(next(iter(loader))["gt"], expected)


def test_without_an_epoch_crops_follow_torchs_own_random_state(photos):
    """BasicSR's unmodified loop: workers must not repeat each other's crops, nor an epoch the one before."""
    dataset = DegradedImageDataset(options(photos))
    torch.manual_seed(0)
    loader = DataLoader(dataset, 6, sampler=EnlargedSampler(dataset, 1, 0, 2), num_workers=2)
    first, second = (torch.cat([batch["gt"] for batch in loader]) for _ in range(2))
    assert not torch.equal(first, second)
    assert not torch.equal(first[:6], first[6:])


def test_turning_and_flipping_change_the_crop_but_not_its_place(photos):
    plain = DegradedImageDataset(options(photos, use_hflip=False, use_rot=False))
    turned = DegradedImageDataset(options(photos))
    for dataset in (plain, turned):
        dataset.set_epoch(0)
    pairs = [(plain[index]["gt"], turned[index]["gt"]) for index in range(24)]
    assert any(not torch.equal(a, b) for a, b in pairs)
    assert all(torch.equal(a.flatten().sort()[0], b.flatten().sort()[0]) for a, b in pairs)


def test_crops_reach_every_corner(tmp_path):
    ramp = torch.arange(18 * 17).view(1, 18, 17).expand(3, -1, -1) % 256 / 255
    write_png(tmp_path / "a.png", ramp)
    dataset = DegradedImageDataset(options(tmp_path, gt_size=16, use_hflip=False, use_rot=False))
    dataset.set_epoch(0)
    assert len({float(dataset[index]["gt"][0, 0, 0]) for index in range(200)}) == 3 * 2


def test_validation_takes_the_centre(photos):
    gt = DegradedImageDataset(options(photos, phase="val", gt_size=32))[0]["gt"]
    photo = read_image(photos / "photo00.png").rgb
    assert torch.equal(gt, photo[:, 16:48, 24:56])


def test_validation_without_a_size_takes_the_largest_that_divides(tmp_path):
    photo = torch.rand(3, 53, 38)
    write_png(tmp_path / "a.png", photo)
    item = DegradedImageDataset(options(tmp_path, phase="val", gt_size=None))[0]
    assert item["gt"].shape == (3, 48, 32) and item["lq"].shape == (3, 3, 2)
    assert torch.allclose(item["gt"], photo[:, 2:50, 3:35], atol=1 / 255)


def test_the_short_side_is_resized(photos):
    item = DegradedImageDataset(options(photos, phase="val", gt_size=32, resize="short_side"))[0]
    expected = bicubic_resize(read_image(photos / "photo00.png").rgb, (32, 40))[:, :, 4:36]
    assert torch.allclose(item["gt"], expected.clamp(0, 1), atol=0.51 / 255)
    enlarged = DegradedImageDataset(options(photos, gt_size=96, resize="short_side"))[0]
    assert enlarged["gt"].shape == (3, 96, 96)


def test_a_meta_info_file_chooses_the_images(photos, tmp_path):
    with pytest.raises(TimError, match="meta_info_file .*photo00.png: is no text, but perhaps an image: give a text"):
        DegradedImageDataset(options(photos, meta_info_file=str(photos / "photo00.png")))
    (tmp_path / "meta.txt").write_text("photo10.png (64,80,3)\nphoto00.png (64,80,3)\n")
    dataset = DegradedImageDataset(options(photos, meta_info_file=str(tmp_path / "meta.txt")))
    assert [path.rsplit("/")[-1] for path in dataset.paths] == ["photo10.png", "photo00.png"]
    assert dataset[0]["gt"].shape == (3, 32, 32)


def test_an_lmdb_gives_what_the_folder_gives(photos, tmp_path, monkeypatch):
    names = sorted(path.name for path in photos.iterdir())
    make_lmdb_from_imgs(str(photos), str(tmp_path / "gt.lmdb"), names, [name[:-4] for name in names])
    lmdb = DegradedImageDataset(options(tmp_path / "gt.lmdb", io_backend={"type": "lmdb"}))
    disk = DegradedImageDataset(options(photos))
    assert torch.equal(epoch_of(lmdb, 2, workers=1), epoch_of(disk, 2))
    monkeypatch.setenv("HOME", str(tmp_path))
    of_home = DegradedImageDataset(options("~/gt.lmdb", io_backend={"type": "lmdb"}))
    assert torch.equal(epoch_of(of_home, 2, workers=1), epoch_of(disk, 2))


def test_grey_and_alpha_photographs_are_read_as_colour(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 4), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "alpha.png"), noise)
    cv2.imwrite(str(tmp_path / "grey.png"), noise[..., 0])
    dataset = DegradedImageDataset(options(tmp_path))
    assert [dataset[index]["gt"].shape for index in range(2)] == [(3, 32, 32)] * 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataroot_gt": "/no/such/folder"}, "/no/such/folder"),
        ({"dataroot_gt": None}, "dataroot_gt"),
        ({"gt_size": 100}, "gt_size 100 .* 16: use 112 or 96"),
        ({"gt_size": 8}, "gt_size 8 .* 16: use 16$"),
        ({"gt_size": None}, "gt_size"),
        ({"task": "sr16"}, "sr16x"),
        ({"resize": "short"}, "resize 'short'.*short_side"),
        ({"scale": 4}, "scale 4 .* 16"),
        ({"meta_info_file": "/no/meta.txt"}, "/no/meta.txt"),
    ],
)
def test_wrong_options_are_named(photos, changes, message):
    with pytest.raises(TimError, match=message):
        DegradedImageDataset({**options(photos), **changes})


def test_an_empty_folder_is_named(tmp_path):
    with pytest.raises(TimError, match=str(tmp_path)):
        DegradedImageDataset(options(tmp_path))


def test_a_photograph_that_is_too_small_damaged_or_gone_is_named(tmp_path):
    write_png(tmp_path / "small.png", torch.rand(3, 20, 40))
    (tmp_path / "tiny.png").write_bytes(b"")
    (tmp_path / "gone.png").write_bytes(b"x")
    dataset = DegradedImageDataset(options(tmp_path))
    (tmp_path / "gone.png").unlink()
    for index, message in enumerate(["gone.png", "small.png: is 40x20, smaller than 32x32", "tiny.png"]):
        with pytest.raises(TimError, match=message):
            _ = dataset[index]


def test_a_worker_names_the_photograph_too(tmp_path):
    (tmp_path / "tiny.png").write_bytes(b"")
    assert "tiny.png: is an empty file" in failure(DataLoader(DegradedImageDataset(options(tmp_path)), num_workers=1))


def failure(loader):
    """The message; with the exception the worker is let go."""
    try:
        next(iter(loader))
    except TimError as error:
        return str(error)


def test_a_strip_is_named_instead_of_filling_the_memory(tmp_path):
    write_png(tmp_path / "strip.png", torch.rand(3, 2, 400))
    with pytest.raises(TimError, match="strip.png: is 400x2"):
        _ = DegradedImageDataset(options(tmp_path, resize="short_side"))[0]


def test_the_home_folder_is_found_in_every_path(photos, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "gt").symlink_to(photos)
    (tmp_path / "list.txt").write_text("photo03.png\nphoto00.png")
    found = DegradedImageDataset(options("~/gt", phase="val", meta_info_file="~/list.txt"))
    expected = DegradedImageDataset(options(photos, phase="val"))
    assert len(found) == 2 and torch.equal(found[1]["gt"], expected[0]["gt"])
