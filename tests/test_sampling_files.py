"""Sampling a folder: memory, tiles and batches change nothing; what is there is skipped; threads hide no error."""

from __future__ import annotations

import json
import re
import runpy
import sys
import threading
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tim_plugin.archs.memory import activation_bytes
from tim_plugin.archs.stacked_arch import StackedGenerator
from tim_plugin.background import Writer, read_ahead
from tim_plugin.checkpoints import save_atomically
from tim_plugin.degradations.bicubic import Bicubic
from tim_plugin.degradations.jpeg import Jpeg
from tim_plugin.degradations.lightness import Lightness
from tim_plugin.degradations.unknown import Unknown
from tim_plugin.errors import TimError
from tim_plugin.images import round_to_8_bit, write_png
from tim_plugin.imle.live_memory import peak_bytes
from tim_plugin.imle.trees import map_tensors
from tim_plugin.inference import sample_files
from tim_plugin.sampling_plan import GIB, Resources, plan_for

ROOT = Path(__file__).resolve().parents[1]
CPU = torch.device("cpu")


@pytest.fixture
def checkpoint(tmp_path, tiny_tower, tiny_network):
    tower, path = tiny_tower(consistency="project"), tmp_path / "net.pth"
    network = {**tiny_network, "consistency": "project"}
    save_atomically({"params": tower.state_dict(), "network_g": network}, path)
    return path


@pytest.fixture
def frames(tmp_path):
    folder = tmp_path / "frames"
    for index in range(3):
        generator = torch.Generator().manual_seed(index)
        write_png(folder / f"f{index}.png", torch.rand(3, 5, 6, generator=generator) * 0.4 + 0.3)
    return folder


def pixels(folder):
    return {path.name: cv2.imread(str(path)).astype(int) for path in sorted(folder.glob("*_s0?.png"))}


def test_tiles_batches_and_memory_change_no_answer(tmp_path, checkpoint, frames):
    sample_files(frames, tmp_path / "a", checkpoint, num_samples=3, tile=0)
    ways = {"b": {"tile": 17}, "c": {"max_samples_per_batch": 1}, "d": {"memory_gib": 64.0, "tile": "auto"}}
    expected = pixels(tmp_path / "a")
    assert len(expected) == 9
    for name, options in ways.items():
        sample_files(frames, tmp_path / name, checkpoint, num_samples=3, **options)
        found = pixels(tmp_path / name)
        assert found.keys() == expected.keys()
        assert max(np.abs(found[file] - expected[file]).max() for file in found) <= 1
        assert (tmp_path / name / "f0_sheet.png").is_file()


def test_bf16_stays_near_and_agrees_with_the_input(tmp_path, checkpoint, frames):
    sample_files(frames, tmp_path / "a", checkpoint, num_samples=1)
    entries = sample_files(frames, tmp_path / "b", checkpoint, num_samples=1, precision="bf16")
    a, b = pixels(tmp_path / "a"), pixels(tmp_path / "b")
    assert 0 < max(np.abs(a[name] - b[name]).max() for name in a) < 26
    assert all(entry["samples"][0]["lr_psnr"] >= 45 for entry in entries)


def test_values_that_are_not_finite_are_an_error_that_names_the_image(tmp_path, checkpoint, frames):
    content = torch.load(checkpoint, weights_only=True)
    next(iter(content["params"].values())).fill_(torch.nan)
    save_atomically(content, checkpoint)
    with pytest.raises(TimError, match="image f0: the network gives values that are not finite"):
        sample_files(frames, tmp_path / "out", checkpoint, num_samples=1)
    assert not (tmp_path / "out").exists()


def test_what_is_there_is_skipped_and_what_changed_is_made_anew(tmp_path, checkpoint, frames, monkeypatch, capsys):
    output = tmp_path / "out"

    def run(*extra):
        """Sample by the command line; return which inputs were computed."""
        before = {path.name: path.stat().st_mtime_ns for path in output.glob("*.png")}
        command = ["sample.py", "-i", frames, "-o", output, "-m", checkpoint, "-n", 2, "--skip-existing", *extra]
        monkeypatch.setattr(sys, "argv", [str(part) for part in command])
        runpy.run_path(str(ROOT / "tools" / "sample.py"), run_name="__main__")
        entries = json.loads((output / "samples.json").read_text())["images"]
        assert sorted(Path(entry["input"]).name for entry in entries) == ["f0.png", "f1.png", "f2.png"]
        after = {path.name: path.stat().st_mtime_ns for path in output.glob("*.png")}
        return {name[:2] for name in after if after[name] != before.get(name)}

    assert run() == {"f0", "f1", "f2"}
    assert run() == set()
    assert "3 image(s), 2 sample(s) each" in capsys.readouterr().out
    (output / "f1_s01.png").unlink()
    assert run() == {"f1"}
    assert "(2 of them were there)" in capsys.readouterr().out
    write_png(frames / "f2.png", torch.rand(3, 5, 6))
    assert run() == {"f2"}
    assert run("--seed", 1) == {"f0", "f1", "f2"}
    assert run("--seed", 1, "--tile", 9, "--batch", 1) == set()  # they change no answer
    assert run("--seed", 1, "--precision", "bf16") == {"f0", "f1", "f2"}


def test_a_run_that_fails_keeps_what_it_has_and_goes_on_from_there(tmp_path, checkpoint, frames):
    good = (frames / "f1.png").read_bytes()
    (frames / "f1.png").write_bytes(good[:60])
    with pytest.raises(TimError, match="f1.png: is truncated"):
        sample_files(frames, tmp_path / "out", checkpoint, num_samples=1, skip_existing=True)
    (entry,) = json.loads((tmp_path / "out" / "samples.json").read_text())["images"]
    assert entry["input"].endswith("f0.png") and (tmp_path / "out" / "f0_s00.png").is_file()
    (frames / "f1.png").write_bytes(good)
    entries = sample_files(frames, tmp_path / "out", checkpoint, num_samples=1, skip_existing=True)
    assert entries[0] == entry and len(entries) == 3
    (tmp_path / "out" / "samples.json").write_text("{")
    with pytest.raises(TimError, match="samples.json: cannot be read: remove it"):
        sample_files(frames, tmp_path / "out", checkpoint, num_samples=1, skip_existing=True)


def test_an_image_that_cannot_be_written_is_an_error(tmp_path, checkpoint, frames):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "f1_s00.png").mkdir()
    with pytest.raises(TimError, match="f1_s00.png: cannot be written"):
        sample_files(frames, tmp_path / "out", checkpoint, num_samples=1)
    done = [Path(one["input"]).name for one in json.loads((tmp_path / "out" / "samples.json").read_text())["images"]]
    assert "f0.png" in done and "f1.png" not in done


def test_reading_ahead_keeps_the_order_and_raises_in_turn():
    read = []
    pairs = read_ahead([1, 2, 0, 3], lambda n: read.append(n) or 6 // n)
    assert next(pairs) == (1, 6) and next(pairs) == (2, 3)
    with pytest.raises(ZeroDivisionError):
        next(pairs)
    assert 1 in read and 0 in read


def test_reading_ahead_that_is_given_up_waits_for_nothing():
    """Python may collect a generator in the midst of starting another thread, where waiting would be for ever."""
    goes_on = threading.Event()
    reading = read_ahead(range(3), lambda item: item == 0 or goes_on.wait())
    assert next(reading) == (0, True)
    closing = threading.Thread(target=reading.close, daemon=True)
    closing.start()
    closing.join(timeout=20)
    try:
        assert not closing.is_alive()
    finally:
        goes_on.set()


def test_the_writer_reports_whole_groups_and_hides_no_error():
    done, written = [], []

    def write(value):
        if value < 0:
            raise OSError("full")
        written.append(value)

    with pytest.raises(OSError, match="full"), Writer() as writer:
        writer.write(write, 1)
        writer.write(write, 2, most_waiting=1)
        writer.end_group(lambda: done.append("first"))
        writer.write(write, -1)
        writer.end_group(lambda: done.append("second"))
        writer.write(write, 3)
        writer.end_group(lambda: done.append("third"))
    assert done[0] == "first" and "second" not in done and {1, 2} <= set(written)


@pytest.mark.parametrize(
    "degradation",
    [Bicubic(16), Lightness(), Jpeg(), Unknown()],
    ids=["bicubic", "lightness", "jpeg", "unknown"],
)
def test_saving_takes_the_memory_that_is_planned_for(degradation):
    gt, images = torch.rand(2, 1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    if degradation.projects:  # samples that do not agree with the input yet
        observed = map_tensors(lambda tensor: tensor[None], degradation.degrade(gt[0], torch.Generator()))
        save = partial(degradation.project_for_saving, images, observed)
    else:
        save = partial(round_to_8_bit, images)
    with torch.no_grad():
        taken = peak_bytes(save) + 4 * images.numel()
    planned = degradation.saving_bytes(3, 128, 128)
    assert 0.6 * planned <= taken <= planned


@pytest.mark.parametrize(("consistency", "copies"), [("project", 10.5), ("off", 3)])
def test_the_plan_follows_the_memory(tiny_tower, consistency, copies):
    tower = tiny_tower(consistency=consistency).eval()
    one = activation_bytes(tower.spec, 64, 64) + int(copies * 4 * 3 * 1024**2)
    plans = [
        plan_for(tower, 64, 64, CPU, Resources(memory_gib=one * times / 0.9 / GIB), 0) for times in (0.9, 1.1, 3.5, 99)
    ]
    assert [plan.tile_px > 0 for plan in plans] == [True, False, False, False]
    assert [plan.samples_per_batch for plan in plans] == [1, 1, 3, 16]
    assert plan_for(tower, 64, 64, CPU, Resources(tile=96), 0).tile_px == 96
    assert plan_for(tower, 64, 64, CPU, Resources(memory_gib=0.001, tile=0), 0).tile_px == 0
    with pytest.raises(TimError, match="--memory-gib 0.01: 1024x1024 pixels in tiles of 64 need") as caught:
        plan_for(tower, 64, 64, CPU, Resources(memory_gib=0.01), 0)
    needed = float(re.search(r"need ([\d.]+) GiB", str(caught.value)).group(1))
    assert plan_for(tower, 64, 64, CPU, Resources(memory_gib=needed, tile=64), 0).tile_px == 64
    with pytest.raises(TimError, match="a StackedGenerator cannot be run tile by tile: use --tile 0"):
        plan_for(StackedGenerator(num_stacks=2, width=4), 8, 8, CPU, Resources(tile=64), 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tile": "x"}, "--tile x: must be auto, 0"),
        ({"tile": -4}, "--tile -4: must be auto, 0"),
        ({"precision": "fp16"}, "--precision fp16 is not known: did you mean 'bf16'"),
        ({"memory_gib": 0.0}, "--memory-gib 0.0: must be above 0"),
        ({"memory_gib": float("nan")}, "--memory-gib nan: must be above 0"),
        ({"max_samples_per_batch": 0}, "--batch 0: must be at least 1"),
    ],
)
def test_mistakes_in_resources_are_named(options, message):
    with pytest.raises(TimError, match=message):
        Resources(**options)


def write_film(path, frames):
    film = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 5, frames[0].shape[1::-1])
    for frame in frames:
        film.write(frame)
    film.release()


def test_a_film_is_sampled_frame_by_frame_with_the_same_codes(checkpoint, tmp_path):
    bright, dark = (np.full((16, 16, 3), value, np.uint8) for value in (200, 60))
    write_film(tmp_path / "clip.avi", [bright, dark, bright])
    output = tmp_path / "out"
    entries = sample_files(tmp_path / "clip.avi", output, checkpoint, num_samples=2)
    assert [entry["samples"][1]["file"] for entry in entries] == [f"clip_00000{index}_s01.png" for index in range(3)]
    first, second, third = (cv2.imread(str(output / f"clip_00000{index}_s01.png")) for index in range(3))
    assert first.shape == (256, 256, 3) and abs(float(first.mean()) - 200) < 20 and abs(float(second.mean()) - 60) < 20
    assert np.array_equal(first, third)  # the same frame, the same codes
    other = cv2.imread(str(output / "clip_000000_s00.png"))
    assert not np.array_equal(first, other)
    (output / "clip_000001_s00.png").unlink()
    sample_files(tmp_path / "clip.avi", output, checkpoint, num_samples=2, skip_existing=True)
    assert (output / "clip_000001_s00.png").is_file()


def test_what_is_no_film_is_named(checkpoint, tmp_path):
    (tmp_path / "clip.mp4").write_bytes(b"no film")
    with pytest.raises(TimError, match="clip.mp4: no frame of it can be decoded"):
        sample_files(tmp_path / "clip.mp4", tmp_path / "out", checkpoint)
    assert not (tmp_path / "out").exists()
