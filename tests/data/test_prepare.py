"""Prepared folders: what is written, what a second run does, what is reported."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from basicsr.data import build_dataset
from basicsr.utils.matlab_functions import imresize
from PIL import Image
from PIL.JpegImagePlugin import get_sampling

from idx_files import idx_content
from support.command_lines import Done, run_program
from tim_plugin.cli.main import main
from tim_plugin.data import prepare_photographs as prepare
from tim_plugin.data.prepare_digits import prepare_digits
from tim_plugin.data.prepare_photographs import Settings, prepare_folder
from tim_plugin.data.prepare_record import write_record
from tim_plugin.data.rarity import Rarity
from tim_plugin.degradations.jpeg import Jpeg
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.images import read_image, write_png

ROOT = Path(__file__).resolve().parents[2]
SMALL = Settings("sr16x", size=32)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Two photographs of one name in two subfolders, one with a space in its name, and an empty file."""
    generator = torch.Generator().manual_seed(0)
    for name, size in (("a/photo.png", (48, 72)), ("b/photo.png", (64, 40)), ("my photo.png", (32, 32))):
        write_png(tmp_path / "photos" / name, torch.rand(3, *size, generator=generator))
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"")
    (tmp_path / "photos" / "notes.txt").write_text("no photograph")
    return tmp_path


def command(*arguments) -> Done:
    return run_program(ROOT / "tools" / "prepare_data.py", *arguments)


def state(output: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in sorted(output.glob("*/*.png"))}


def test_the_command_twice(folder):
    arguments = ("sr16x", "-i", folder / "photos", "-o", folder / "out", "--size", 32, "--workers", 2)
    first = command(*arguments)
    assert first.returncode == 2, first.stderr
    assert "3 pairs made, 0 kept, 1 photographs skipped" in first.stdout
    assert "4/4" in first.stdout  # the progress bar
    assert "broken.jpg: is an empty file" in first.stderr and "photos: left out: notes.txt (no image" in first.stderr
    assert first.stderr.endswith("error: 1 photographs could not be read, see above; the others are done\n")
    names = ["a_photo.png", "b_photo.png", "my_photo.png"]
    for part in ("gt", "lq"):
        assert sorted(path.name for path in (folder / "out" / part).iterdir()) == names
    assert (folder / "out" / "meta_info.txt").read_text() == "".join(f"{name} (32,32,3)\n" for name in names)
    before = state(folder / "out")
    second = command(*arguments)
    assert second.returncode == 2, second.stderr
    assert "0 pairs made, 3 kept, 1 photographs skipped" in second.stdout
    assert state(folder / "out") == before


def test_a_mistake_is_one_line_and_status_2(folder):
    done = command("sr16x", "-i", folder / "photos", "-o", folder / "photos" / "below")
    assert done.returncode == 2
    assert done.stderr.startswith("error: -o ") and done.stderr.count("\n") == 1
    assert not (folder / "photos" / "below").exists()


def test_the_pair_is_the_resized_centre_and_its_degradation(folder):
    prepare_folder(folder / "photos", folder / "out", SMALL, workers=1)
    gt = read_image(folder / "out" / "gt" / "a_photo.png").rgb
    resized = imresize(read_image(folder / "photos" / "a" / "photo.png").rgb, 2 / 3)  # 32x48
    assert torch.allclose(gt, resized[:, :, 8:40].clamp(0, 1), atol=0.51 / 255)
    lq = read_image(folder / "out" / "lq" / "a_photo.png").rgb
    assert torch.allclose(lq, imresize(gt, 1 / 16).clamp(0, 1), atol=0.51 / 255)
    exact = read_image(folder / "out" / "gt" / "my_photo.png").rgb
    assert torch.equal(exact, read_image(folder / "photos" / "my photo.png").rgb)  # of that size already


def test_basicsrs_paired_dataset_reads_it(folder):
    out = folder / "out"
    prepare_folder(folder / "photos", out, SMALL, workers=1)
    dataset = build_dataset(
        {
            "name": "prepared",
            "type": "PairedImageDataset",
            "dataroot_gt": str(out / "gt"),
            "dataroot_lq": str(out / "lq"),
            "meta_info_file": str(out / "meta_info.txt"),
            "io_backend": {"type": "disk"},
            "gt_size": 32,
            "scale": 16,
            "phase": "train",
            "use_hflip": False,
            "use_rot": False,
        }
    )
    assert len(dataset) == 3
    item = dataset[2]
    assert item["lq"].shape == (3, 2, 2)
    assert np.allclose(item["gt"], read_image(out / "gt" / "my_photo.png").rgb)


def test_whole_keeps_the_long_side(folder):
    prepare_folder(folder / "photos", folder / "out", Settings("sr16x", 32, "whole"), workers=1)
    lines = (folder / "out" / "meta_info.txt").read_text().splitlines()
    assert lines == ["a_photo.png (32,48,3)", "b_photo.png (48,32,3)", "my_photo.png (32,32,3)"]
    assert read_image(folder / "out" / "lq" / "b_photo.png").rgb.shape == (3, 3, 2)


def test_only_what_is_missing_or_changed_is_made(folder):
    photos, out = folder / "photos", folder / "out"
    prepare_folder(photos, out, SMALL, workers=1)
    before = state(out)
    (out / "lq" / "a_photo.png").unlink()
    write_png(photos / "b" / "photo.png", torch.ones(3, 64, 40))
    write_png(photos / "new.png", torch.rand(3, 20, 20))
    (photos / "my photo.png").unlink()
    prepared = prepare_folder(photos, out, SMALL, workers=1)
    assert (prepared.made, prepared.kept, prepared.enlarged, prepared.left_over) == (3, 0, 1, ["my_photo.png"])
    assert (read_image(out / "gt" / "b_photo.png").rgb == 1).all()
    assert "my_photo" not in (out / "meta_info.txt").read_text()
    unchanged = str(out / "gt" / "my_photo.png")
    assert state(out)[unchanged] == before[unchanged]


def test_a_photograph_that_became_unreadable_loses_its_pair(folder):
    photos, out = folder / "photos", folder / "out"
    prepare_folder(photos, out, SMALL, workers=1)
    (photos / "b" / "photo.png").write_bytes(b"damaged")
    assert len(prepare_folder(photos, out, SMALL, workers=1).skipped) == 2
    assert not (out / "gt" / "b_photo.png").exists() and not (out / "lq" / "b_photo.png").exists()


def test_an_interrupted_run_loses_no_finished_pair(folder, monkeypatch):
    photos, out, made = folder / "photos", folder / "out", []
    write = prepare.write_atomically

    def stop_at_the_second_lq(path, content):
        if len(made) == 1:
            raise KeyboardInterrupt
        made.append(path)
        write(path, content)

    monkeypatch.setattr(prepare, "write_atomically", stop_at_the_second_lq)
    with pytest.raises(KeyboardInterrupt):
        prepare_folder(photos, out, SMALL, workers=1)
    monkeypatch.undo()
    prepared = prepare_folder(photos, out, SMALL, workers=1)
    assert (prepared.made, prepared.kept) == (2, 1)
    assert not [path for path in out.rglob("*") if path.name.startswith(".")]


def test_names_that_would_be_equal_stay_apart(tmp_path):
    for name in ("a_b.png", "a/b.png", "a_b.jpg.png", "A_B.png"):
        write_png(tmp_path / "photos" / name, torch.rand(3, 32, 32))
    prepared = prepare_folder(tmp_path / "photos", tmp_path / "out", SMALL, workers=1)
    assert prepared.made == 4
    assert len({path.name.lower() for path in (tmp_path / "out" / "gt").iterdir()}) == 4


def test_other_settings_are_refused(folder):
    prepare_folder(folder / "photos", folder / "out", SMALL, workers=1)
    with pytest.raises(TimError, match="size 32.*not .*size 48"):
        prepare_folder(folder / "photos", folder / "out", Settings("sr16x", 48))
    record = folder / "out" / "prepare.json"
    record.write_text("{")
    with pytest.raises(TimError, match="prepare.json: is damaged"):
        prepare_folder(folder / "photos", folder / "out", SMALL)
    record.unlink()
    os.mkfifo(record)
    with pytest.raises(TimError, match="prepare.json: is damaged .*named pipe"):
        prepare_folder(folder / "photos", folder / "out", SMALL)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Settings("sr16x", 100), "--size 100.*96 or 112"),
        (Settings("sr16x", 0), "--size 0.*use 16"),
        (Settings("sr16"), "sr16x"),
        (Settings("sr16x", crop="middle"), "--crop middle.*center or whole"),
    ],
)
def test_wrong_settings_are_named(folder, settings, message):
    with pytest.raises(TimError, match=message):
        prepare_folder(folder / "photos", folder / "out", settings)


def test_nothing_readable_is_an_error(folder):
    for path in (folder / "photos").rglob("*.png"):
        path.write_bytes(b"no image")
    with pytest.raises(TimError, match="none of the 4 photographs could be read"):
        prepare_folder(folder / "photos", folder / "out", SMALL, workers=1)


def test_folders_and_workers_that_cannot_be_are_named(folder):
    (folder / "empty").mkdir()
    (folder / "photos").rename(folder / "gt")
    (folder / "notes.txt").write_text("no folder")
    for photos, output, workers, message in (
        ("empty", "out", 1, "holds no image"),
        ("gt", "out", 0, "--workers 0"),
        ("gt", ".", 1, "where the results go"),
        ("gt", "gt", 1, "lies in the folder"),
        ("gt", "gt/below", 1, "lies in the folder"),
        ("missing", "out", 1, "missing: there is no such folder"),
        ("gt", "notes.txt", 1, "is a file"),
    ):
        with pytest.raises(TimError, match=message):
            prepare_folder(folder / photos, folder / output, SMALL, workers)


def test_jpegs_are_prepared_with_a_quality_each(folder):
    done = command(
        "decompression",
        "-i",
        folder / "photos",
        "-o",
        folder / "out",
        "--size",
        32,
        "--quality",
        "5,90",
        "--workers",
        1,
    )
    assert done.returncode == 2, done.stderr  # one photograph is broken
    assert "DegradedImageDataset and task: decompression" in done.stdout
    files = sorted((folder / "out" / "lq").iterdir())
    assert [path.name for path in files] == ["a_photo.jpg", "b_photo.jpg", "my_photo.jpg"]
    tables = {Jpeg().read(path.read_bytes(), "x").given["tables"].sum().item() for path in files}
    assert len(tables) == 3
    before = [path.read_bytes() for path in files]
    for path in files:
        path.unlink()
    prepare_folder(folder / "photos", folder / "out", Settings("decompression", 32, options={"quality": [5, 90]}))
    assert [path.read_bytes() for path in files] == before  # drawn by name, not by order


@pytest.mark.parametrize(("given", "kept"), [("4:4:4", {0}), ("4:4:4,4:2:0", {0, 2})])
def test_subsampling_is_one_or_several(folder, given, kept):
    (folder / "photos" / "broken.jpg").unlink()
    for index in range(4):
        write_png(folder / "photos" / f"{index}.png", torch.rand(3, 16, 16))
    arguments = ["decompression", "-i", folder / "photos", "-o", folder / "out", "--size", 16, "--workers", 1]
    main([*map(str, arguments), "--subsampling", given], "prepare")
    files = sorted((folder / "out" / "lq").iterdir())
    assert {get_sampling(Image.open(path)) for path in files} == kept


def test_values_that_are_no_options_are_told_what_is(folder, capsys):
    arguments = ["decompression", "-i", str(folder / "photos"), "-o", str(folder / "out")]
    for more, message in (
        (["--quality", "abc"], "argument --quality: 'abc': write a whole number, or LOW,HIGH"),
        (["--quality", "5,"], "argument --quality: '5,': write a whole number, or LOW,HIGH"),
        (["--subsampling", "4:4:4,4:2:1"], "subsampling '4:2:1' is not known: did you mean '4:2:"),
    ):
        with pytest.raises(SystemExit):
            main([*arguments, *more], "prepare")
        assert message in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["decompression", "--help"], "prepare")
    assert "--subsampling {4:4:4,4:2:2,4:2:0},..." in capsys.readouterr().out


def test_layouts_get_their_statistics(photos, label_maps, tmp_path):
    arguments = ("layouts", "-i", photos, "--labels", label_maps, "--palette", "camvid", "-o", tmp_path / "rarity.json")
    done = command(*arguments, "--workers", 2)
    assert done.returncode == 0, done.stderr
    assert "6 images; resampled, each is drawn" in done.stdout and "resample: true" in done.stdout
    assert Rarity.load(tmp_path / "rarity.json").scores.shape == (6, 12)
    assert not (tmp_path / "rarity.json.partial").exists()
    done = command(*arguments, "--void", "masked")
    assert (
        done.returncode == 2
        and done.stderr == "error: task layouts: void 'masked' is not known: did you mean 'mask'?\n"
    )


def test_digits_are_prepared_once(tmp_path):
    pytest.importorskip("sklearn")
    arguments = ("mnist_pca", "-i", "sklearn:digits/test", "--basis", "sklearn:digits/train", "-o", tmp_path)
    assert "256 pairs made, 0 kept" in command(*arguments, "--workers", 2).stdout
    before = (tmp_path / "lq" / "test_00000.png").read_bytes()
    (tmp_path / "lq" / "test_00000.png").unlink()
    assert "1 pairs made, 255 kept" in command(*arguments).stdout
    assert (tmp_path / "lq" / "test_00000.png").read_bytes() == before
    assert read_image(tmp_path / "gt" / "test_00000.png").rgb.shape == (3, 32, 32)
    done = command(*arguments, "--num-components", 5)
    assert done.returncode == 2 and "num_components 10, not digits" in done.stderr
    assert (tmp_path / "lq" / "test_00000.png").read_bytes() == before


def write_digits(path: Path, seed: int) -> str:
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 28, 28), np.uint8)
    path.write_bytes(idx_content(pixels))
    os.utime(path, (seed, seed))  # two writes within one tick of the clock would have one time
    return str(path)


@pytest.mark.parametrize("changed", ["digits", "basis"])
def test_digits_whose_content_has_changed_are_refused(tmp_path, changed):
    digits, basis = (write_digits(tmp_path / name, seed=1) for name in ("digits-idx3-ubyte", "basis-idx3-ubyte"))
    prepare_digits(digits, tmp_path / "out", basis, num_components=3, workers=1)
    before = state(tmp_path / "out")
    same = str(tmp_path / "out" / ".." / "digits-idx3-ubyte")  # another spelling of the path
    assert prepare_digits(same, tmp_path / "out", basis, num_components=3, workers=1) == (0, 8)
    write_digits(tmp_path / f"{changed}-idx3-ubyte", seed=2)
    with pytest.raises(TimError, match=f"out: was prepared with .*{changed}_sha256.*not .*give another folder"):
        prepare_digits(digits, tmp_path / "out", basis, num_components=3, workers=1)
    assert state(tmp_path / "out") == before
    fresh = tmp_path / "fresh"
    assert prepare_digits(digits, fresh, basis, num_components=3, workers=1) == (8, 0)
    part = {"digits": "gt", "basis": "lq"}[changed]
    name = "digits-idx3-ubyte_00000.png"
    assert (fresh / part / name).read_bytes() != (tmp_path / "out" / part / name).read_bytes()


def test_digits_that_an_earlier_version_prepared_are_refused_with_the_reason(tmp_path):
    digits = write_digits(tmp_path / "digits-idx3-ubyte", seed=1)
    write_record(tmp_path / "out", {"digits": digits, "basis": digits, "num_components": 3}, {})
    with pytest.raises(TimError, match="out: was prepared by an earlier version, .* digits_sha256 and basis_sha256"):
        prepare_digits(digits, tmp_path / "out", digits, num_components=3, workers=1)


def test_names_that_are_no_text_or_very_long_are_prepared(folder):
    photos = folder / "photos"
    no_text, long = os.fsdecode(b"caf\xe9.png"), "l" * 250 + ".png"
    (photos / "a" / "photo.png").rename(photos / no_text)
    (photos / "my photo.png").rename(photos / long)
    prepared = prepare_folder(photos, folder / "out", SMALL, workers=1)
    assert prepared.made == 3 and len(prepared.skipped) == 1
    names = [line.split()[0] for line in (folder / "out" / "meta_info.txt").read_text().splitlines()]
    assert names[:2] == ["b_photo.png", "caf_.png"] and names[2].startswith("lll") and len(names[2]) <= 255
    assert sorted(names) == sorted(path.name for path in (folder / "out" / "lq").iterdir())
    assert prepare_folder(photos, folder / "out", SMALL, workers=1).kept == 3


def test_a_range_may_be_a_tuple(folder):
    settings = Settings("decompression", 64, options={"quality": (1, 20)})
    assert prepare_folder(folder / "photos", folder / "out", settings, 1).kept == 0
    assert prepare_folder(folder / "photos", folder / "out", settings, 1).made == 0
