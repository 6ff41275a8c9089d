"""Mistakes in the files of BasicSR's own datasets: one sentence that names the file, before training where it can."""

from __future__ import annotations

import shutil

import cv2
import numpy as np
import pytest
import torch
from basicsr.data import build_dataset
from basicsr.utils.lmdb_util import make_lmdb_from_imgs

from tim_plugin.data.degraded_image_dataset import DegradedImageDataset
from tim_plugin.data.sources import listed_names
from tim_plugin.utils.errors import TimError


@pytest.fixture
def folders(tmp_path):
    """GT of 32x32 and LQ of 16x16."""
    for folder, side in (("gt", 32), ("lq", 16)):
        (tmp_path / folder).mkdir()
        for index, name in enumerate("abc"):
            cv2.imwrite(str(tmp_path / folder / f"{name}.png"), np.full((side, side, 3), 40 * index, np.uint8))
    return tmp_path


def build(root, phase="val", **changes):
    options = {"name": "mine", "type": "PairedImageDataset", "io_backend": {"type": "disk"}, "phase": phase, "scale": 2}
    options |= {"dataroot_gt": str(root / "gt"), "dataroot_lq": str(root / "lq"), "gt_size": 16}
    return build_dataset({**options, "use_hflip": False, "use_rot": False, **changes})


def test_pairs_that_fit_are_read(folders):
    item = build(folders)[1]
    assert (item["gt"].shape, item["lq"].shape) == ((3, 32, 32), (3, 16, 16))
    (folders / "meta.txt").write_text("a.png (32,32,3)\n")
    assert len(build(folders, meta_info_file=str(folders / "meta.txt"))) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: (root / "lq" / "b.png").unlink(), r"gt/b.png: has no LQ file b.png in .*lq"),
        (lambda root: (root / "gt" / "b.png").unlink(), r"lq/b.png: has no GT file in .*gt: remove it"),
        (lambda root: (root / "lq" / "b.png").rename(root / "lq" / "B.png"), r"gt/b.png: has no LQ file b.png"),
        (lambda root: (root / "gt" / "Thumbs.db").write_bytes(b"x"), r"gt/Thumbs.db: is no image, and BasicSR reads"),
        (lambda root: shutil.rmtree(root / "lq"), "lq: cannot be read"),
    ],
)
def test_folders_that_do_not_match_are_named(folders, change, message):
    change(folders)
    with pytest.raises(TimError, match=message):
        build(folders)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a.png (32,32,3)\nd.png (32,32,3)\n", r"meta.txt: line 2 names 'd.png', which is no file of .*gt"),
        (b"my photo.png (32,32,3)\n", r"line 1 names 'my', .* .a name ends at its first space"),
        (b"a.png\n\nb.png\n", "line 2 names ''"),
        (b"", "meta.txt is empty"),
        ("\u00e4.png\n".encode("latin-1"), r"meta.txt: is not UTF-8 in line 1 \(perhaps Latin-1\)"),
        ("a.png\n".encode("utf-16"), r"is not UTF-8 in line 1 \(UTF-16\)"),
        (None, "meta.txt: cannot be read"),
    ],
)
def test_a_list_that_does_not_match_is_named_with_the_line(folders, content, message):
    if content is not None:
        (folders / "meta.txt").write_bytes(content)
    with pytest.raises(TimError, match=message):
        build(folders, meta_info_file=str(folders / "meta.txt"))


@pytest.mark.parametrize(
    ("phase", "side", "message"),
    [
        ("train", 15, r"image pair .*lq/b.png, .*gt/b.png: Scale mismatches. GT \(32, 32\) is not 2x"),
        ("val", 17, r"gt/b.png: is 32x32, but 2 times its LQ .*lq/b.png is 34x34"),
    ],
)
def test_sizes_that_do_not_fit_are_named(folders, phase, side, message):
    cv2.imwrite(str(folders / "lq" / "b.png"), np.zeros((side, side, 3), np.uint8))
    dataset = build(folders, phase)
    index = [entry["lq_path"].endswith("b.png") for entry in dataset.paths].index(True)
    with pytest.raises(TimError, match=message):
        dataset[index]


def test_images_smaller_than_a_crop_and_damaged_ones_are_named(folders):
    dataset = build(folders, "train", gt_size=64)
    with pytest.raises(TimError, match=r"LQ \(16, 16\) is smaller than patch size \(32, 32\). Please remove .*png"):
        dataset[0]
    for path in (folders / "lq").iterdir():
        path.write_bytes(b"")
    with pytest.raises(TimError, match="cannot read the image pair .*: one of them is missing, empty or damaged"):
        build(folders)[0]
    with pytest.raises(IndexError):
        build(folders)[3]


def lmdb_of(folder, keys):
    names = sorted(path.name for path in folder.iterdir())[: len(keys)]
    target = folder.with_suffix(".lmdb")
    make_lmdb_from_imgs(str(folder), str(target), names, keys, map_size=2**24)
    return str(target)


def test_lmdbs_that_do_not_match_are_named(folders):
    made = {"dataroot_gt": lmdb_of(folders / "gt", ["a", "b", "c"]), "dataroot_lq": lmdb_of(folders / "lq", ["a", "b"])}
    made["io_backend"] = {"type": "lmdb"}
    with pytest.raises(TimError, match=r"gt.lmdb has the image 'c', and .*lq.lmdb has not"):
        build(folders, **made)
    meta = folders / "lq.lmdb" / "meta_info.txt"
    meta.write_text(meta.read_text() + "c.png (16,16,3) 1\n")
    with pytest.raises(TimError, match="cannot read the image pair c, c: one of them is missing"):
        build(folders, **made)[2]
    meta.unlink()
    with pytest.raises(TimError, match="meta_info.txt: cannot be read"):
        build(folders, **made)


def test_names_with_a_space_are_read_from_an_lmdb(folders):
    gt, lq = (lmdb_of(folders / name, ["my photo", "b", "c d.e"]) for name in ("gt", "lq"))
    made = {"dataroot_gt": gt, "dataroot_lq": lq, "io_backend": {"type": "lmdb"}}
    degraded = {"name": "t", "task": "sr4x", "phase": "val", "dataroot_gt": gt, "io_backend": {"type": "lmdb"}}
    dataset = DegradedImageDataset(degraded)
    assert dataset.paths == ["my photo", "b", "c d.e"]
    assert dataset[0]["gt"].shape == (3, 32, 32)
    shutil.copytree(gt, folders / "other.lmdb")  # one process cannot open an lmdb twice
    (folders / "other.lmdb" / "meta_info.txt").write_text("lost.png (32,32,3) 1\n")
    with pytest.raises(TimError, match="lost: is not in the lmdb .*other.lmdb, though its meta_info.txt names it"):
        DegradedImageDataset({**degraded, "dataroot_gt": str(folders / "other.lmdb")})[0]
    with pytest.raises(TimError, match="other.lmdb has the image 'lost', and"):
        build(folders, **{**made, "dataroot_gt": str(folders / "other.lmdb")})


def test_a_name_ends_at_its_size_or_at_the_first_space(tmp_path):
    (tmp_path / "meta.txt").write_text("my photo.png (32,32,3) 1\na.png 480 480\n\n b.png\nx (1).png (32,32,3)\n")
    assert listed_names(tmp_path / "meta.txt", "here") == ["my photo.png", "a.png", "b.png", "x (1).png"]


def test_images_without_gt_are_named_too(folders):
    options = {"name": "mine", "type": "SingleImageDataset", "io_backend": {"type": "disk"}, "phase": "test"}
    options["dataroot_lq"] = str(folders / "lq")
    assert torch.is_tensor(build_dataset(options)[0]["lq"])
    with pytest.raises(TimError, match="dataset mine: FileNotFoundError .*nowhere.txt"):
        build_dataset({**options, "meta_info_file": "nowhere.txt"})
    for path in (folders / "lq").iterdir():
        path.write_bytes(b"x")
    with pytest.raises(TimError, match="cannot read the image .*lq/.*: it is empty or damaged"):
        build_dataset(options)[0]
