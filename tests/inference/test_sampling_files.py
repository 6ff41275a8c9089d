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

from tim_plugin.archs.stacked_arch import StackedGenerator
from tim_plugin.degradations.bicubic import Bicubic
from tim_plugin.degradations.jpeg import Jpeg
from tim_plugin.degradations.lightness import Lightness
from tim_plugin.degradations.unknown import Unknown
from tim_plugin.inference.arguments import GIB, Resources
from tim_plugin.inference.files import sample_files
from tim_plugin.inference.memory_plan import plan_for
from tim_plugin.inference.memory_use import activation_bytes
from tim_plugin.utils.background import Writer, read_ahead
from tim_plugin.utils.checkpoints import save_atomically
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.images import round_to_8_bit, write_pixels, write_png
from tim_plugin.utils.memory import peak_bytes
from tim_plugin.utils.trees import map_tensors

ROOT = Path(__file__).resolve().parents[2]
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


def entries_of(folder):
    return json.loads((folder / "samples.json").read_text())["images"]


def inputs_of(folder):
    return sorted(Path(entry["input"]).name for entry in entries_of(folder))


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.png")}


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


def test_a_record_that_is_damaged_is_named_and_made_anew_where_nothing_is_to_be_skipped(tmp_path, checkpoint, frames):
    record = tmp_path / "out" / "samples.json"
    sample_files(frames, tmp_path / "out", checkpoint, num_samples=1)
    for content in ("{", '{"images": [{"input": "x", "samples": []}]}', '{"images": [3]}'):
        record.write_text(content)
        with pytest.raises(TimError, match="samples.json: cannot be read: remove it"):
            sample_files(frames, tmp_path / "out", checkpoint, num_samples=1, skip_existing=True)
        assert record.read_text() == content
    sample_files(frames, tmp_path / "out", checkpoint, num_samples=1)
    assert inputs_of(tmp_path / "out") == ["f0.png", "f1.png", "f2.png"]


def test_an_image_that_cannot_be_written_is_an_error(tmp_path, checkpoint, frames):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "f1_s00.png").mkdir()
    with pytest.raises(TimError, match="f1_s00.png: cannot be written"):
        sample_files(frames, tmp_path / "out", checkpoint, num_samples=1)
    done = [Path(one["input"]).name for one in json.loads((tmp_path / "out" / "samples.json").read_text())["images"]]
    assert "f0.png" in done and "f1.png" not in done


def test_what_another_input_has_overwritten_is_made_anew(tmp_path, checkpoint, frames):
    first, second, output = tmp_path / "A", tmp_path / "B", tmp_path / "out"
    for folder, name in ((first, "f0.png"), (second, "f1.png")):
        folder.mkdir()
        (folder / "x.png").write_bytes((frames / name).read_bytes())
    sample_files(first, output, checkpoint, num_samples=2, skip_existing=True)
    expected = contents(output)
    sample_files(second, output, checkpoint, num_samples=2, skip_existing=True)
    assert contents(output) != expected
    (entry,) = entries_of(output)
    assert entry["input"] == str(second / "x.png")
    sample_files(first, output, checkpoint, num_samples=2, skip_existing=True)
    assert contents(output) == expected
    (entry,) = entries_of(output)
    assert entry["input"] == str(first / "x.png")


@pytest.mark.parametrize("killed", [False, True], ids=["fails", "is killed"])
def test_what_a_run_that_ends_on_the_way_has_overwritten_is_made_anew(tmp_path, checkpoint, frames, killed):
    output = tmp_path / "out"
    run = partial(sample_files, frames, output, checkpoint, num_samples=2)
    run(seed=0)
    expected = contents(output)

    def write(path, *content):
        if path.name == "f1_s01.png":
            raise OSError("the disk is full")
        write_pixels(path, *content)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tim_plugin.inference.outputs.write_pixels", write)
        if killed:
            patch.setattr("tim_plugin.inference.record.SampleRecord.save", lambda record: None)
        with pytest.raises(TimError, match="f1_s01.png: cannot be written: the disk is full"):
            run(seed=1)
    found = contents(output)
    assert found["f1_s00.png"] != expected["f1_s00.png"] and found["f1_s01.png"] == expected["f1_s01.png"]
    run(seed=0, skip_existing=True)
    assert contents(output) == expected and inputs_of(output) == ["f0.png", "f1.png", "f2.png"]
    assert [path.name for path in output.iterdir() if path.suffix not in (".png", ".json")] == []


def test_an_answer_that_is_not_finite_takes_no_entry_away(tmp_path, checkpoint, frames):
    sample_files(frames, tmp_path / "out", checkpoint, num_samples=1)
    broken = torch.load(checkpoint, weights_only=True)
    next(iter(broken["params"].values())).fill_(torch.nan)
    save_atomically(broken, tmp_path / "broken.pth")
    before = contents(tmp_path / "out")
    with pytest.raises(TimError, match="not finite"):
        sample_files(frames, tmp_path / "out", tmp_path / "broken.pth", num_samples=1)
    assert contents(tmp_path / "out") == before and len(entries_of(tmp_path / "out")) == 3


def test_a_sheet_of_other_samples_is_made_anew(tmp_path, checkpoint, frames):
    run = partial(sample_files, frames, tmp_path / "out", checkpoint, num_samples=1)
    run(seed=0)
    sheet = (tmp_path / "out" / "f0_sheet.png").read_bytes()
    run(seed=1, with_contact_sheet=False)
    run(seed=1, skip_existing=True)
    assert (tmp_path / "out" / "f0_sheet.png").read_bytes() != sheet
    before = contents(tmp_path / "out")
    run(seed=1, with_contact_sheet=False, skip_existing=True)
    assert contents(tmp_path / "out") == before and entries_of(tmp_path / "out")[0]["sheet"] == "f0_sheet.png"


@pytest.mark.parametrize("skip_existing", [False, True])
def test_the_record_keeps_other_inputs_whose_samples_are_there(tmp_path, checkpoint, frames, skip_existing):
    output = tmp_path / "out"
    run = partial(sample_files, output=output, model=checkpoint, num_samples=2, skip_existing=skip_existing)
    run(frames / "f0.png")
    run(frames / "f1.png")
    run(frames / "f1.png", suffix="b")
    assert inputs_of(output) == ["f0.png", "f1.png", "f1.png"]
    files = [sample["file"] for entry in entries_of(output) for sample in entry["samples"]]
    assert sorted(files) == sorted(path.name for path in output.glob("*_s0?.png"))
    for path in output.glob("f0_*"):
        path.unlink()
    run(frames / "f2.png")
    assert inputs_of(output) == ["f1.png", "f1.png", "f2.png"]


def test_two_entries_for_one_file_are_both_doubted(tmp_path, checkpoint, frames):
    output = tmp_path / "out"
    run = partial(sample_files, frames / "f0.png", output, checkpoint, num_samples=1, skip_existing=True)
    run()
    content = json.loads((output / "samples.json").read_text())
    content["images"].append({**content["images"][0], "input": "elsewhere.png"})
    (output / "samples.json").write_text(json.dumps(content))
    expected = (output / "f0_s00.png").read_bytes()
    (output / "f0_s00.png").write_bytes(b"whose?")
    run()
    assert (output / "f0_s00.png").read_bytes() == expected and inputs_of(output) == ["f0.png"]


@pytest.fixture
def command(tmp_path, checkpoint, frames, monkeypatch, capsys):
    """Return a function that samples the frames by the command line and returns exit status, stdout and stderr."""

    def run(*extra, source=frames, output=tmp_path / "out"):
        given = ["sample.py", "-i", source, "-o", output, "-m", checkpoint, "-n", 1, *extra]
        monkeypatch.setattr(sys, "argv", [str(part) for part in given])
        status = 0
        try:
            runpy.run_path(str(ROOT / "tools" / "sample.py"), run_name="__main__")
        except SystemExit as left:
            status = left.code
        return status, *capsys.readouterr()

    return run


@pytest.mark.parametrize("skip_existing", [(), ("--skip-existing",)], ids=["all", "skip existing"])
def test_files_that_cannot_be_sampled_are_reported_and_the_others_done(tmp_path, frames, command, skip_existing):
    good = (frames / "f1.png").read_bytes()
    (frames / "f1.png").write_bytes(good[:60])
    write_png(frames / "a_large.png", torch.rand(3, 2, 200))
    status, printed, errors = command(*skip_existing, "--max-megapixels", 0.1)
    lines = [line.strip() for line in re.split("[\r\n]", errors)]
    skipped = [line for line in lines if line.startswith("skipped: ")]
    assert len(skipped) == 2 and "a_large.png: is 200x2" in skipped[0] and "f1.png: is truncated" in skipped[1]
    assert status == 2 and "2 image(s), 1 sample(s) each" in printed
    assert [line for line in lines if line.startswith("error: ")] == [
        f"error: -i {frames}: 2 of 4 images could not be sampled, see above; the others are done"
    ]
    assert inputs_of(tmp_path / "out") == ["f0.png", "f2.png"]
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.png")}
    assert len(before) == 4
    (frames / "f1.png").write_bytes(good)
    (frames / "a_large.png").unlink()
    status, printed, _ = command("--skip-existing", "--max-megapixels", 0.1)
    assert status == 0 and "3 image(s)" in printed and "(2 of them were there)" in printed
    assert inputs_of(tmp_path / "out") == ["f0.png", "f1.png", "f2.png"]
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())


def test_an_image_that_the_memory_does_not_hold_stops_no_other(tmp_path, frames, command, monkeypatch):
    def plan(tower, height, width, *others):
        if width == 9:
            raise TimError("--memory-gib 4: 144x144 pixels in tiles of 64 need 5.00 GiB")
        return plan_for(tower, height, width, *others)

    monkeypatch.setattr("tim_plugin.inference.files.plan_for", plan)
    write_png(frames / "a.png", torch.rand(3, 9, 9))
    status, _, errors = command()
    assert status == 2 and f"skipped: {frames / 'a.png'}: --memory-gib 4: 144x144 pixels in" in errors
    assert inputs_of(tmp_path / "out") == ["f0.png", "f1.png", "f2.png"]
    status, _, errors = command(source=frames / "a.png", output=tmp_path / "single")
    assert status == 2 and errors.startswith(f"error: {frames / 'a.png'}: --memory-gib 4:") and errors.count("\n") == 1


def test_a_single_file_that_cannot_be_read_is_one_error(tmp_path, frames, command):
    (frames / "f1.png").write_bytes(b"")
    status, printed, errors = command(source=frames / "f1.png")
    assert (status, printed, errors) == (2, "", f"error: {frames / 'f1.png'}: is an empty file\n")
    assert not (tmp_path / "out").exists()


def test_a_folder_of_which_nothing_can_be_read_says_so(tmp_path, frames, command):
    for path in frames.iterdir():
        path.write_bytes(b"")
    status, printed, errors = command()
    assert status == 2 and printed == "" and "3 of 3 images could not be sampled, see above\n" in errors
    assert not (tmp_path / "out").exists()


def test_a_tower_that_cannot_be_tiled_is_one_error(tmp_path, frames, command, monkeypatch):
    def cannot(tower, *others):
        raise TimError("--tile: a Network cannot be run tile by tile: use --tile 0")

    monkeypatch.setattr("tim_plugin.inference.files.plan_for", cannot)
    status, _, errors = command()
    assert status == 2 and errors == "error: --tile: a Network cannot be run tile by tile: use --tile 0\n"


def test_the_folder_of_inputs_is_no_folder_for_samples(tmp_path, frames, command):
    (tmp_path / "link").symlink_to(frames)
    before = sorted(frames.iterdir())
    for output in (frames, frames / "..", tmp_path / "link"):
        status, printed, errors = command(output=output / "frames" if output.name == ".." else output)
        assert status == 2 and "is the folder of inputs" in errors and errors.count("\n") == 1 and not printed
        assert sorted(frames.iterdir()) == before
    for _ in range(2):  # folders in the folder are not read, whatever their name
        status, printed, _ = command(output=frames / "out.png")
        assert status == 0 and "3 image(s)" in printed
    assert inputs_of(frames / "out.png") == ["f0.png", "f1.png", "f2.png"]
    status, _, _ = command(source=frames / "f0.png", output=frames)  # one file is not read with its neighbours
    assert status == 0 and (frames / "f0_s00.png").is_file()


@pytest.mark.parametrize("given", [("--level-seeds", "-,-,3"), ("--level-seeds=-,-,3",), ("--level-s", "-,-,3,-")])
def test_a_dash_leaves_the_coarsest_level_free(tmp_path, command, given):
    status, _, errors = command("-n", 2, *given)
    assert status == 0, errors
    assert [sample["level_seeds"] for sample in entries_of(tmp_path / "out")[0]["samples"]] == [
        [0, 0, 3, 0],
        [1, 1, 3, 1],
    ]
    status, _, errors = command("--level-seeds", "--seed", 3)
    assert status == 2 and "--level-seeds: expected one argument" in errors


def test_inputs_whose_samples_would_have_one_name_are_refused(tmp_path, frames, command):
    for name in ("f0.jpg", "f0_png.png"):
        (frames / name).write_bytes((frames / "f0.png").read_bytes())
    status, _, errors = command()
    assert status == 2 and "f0.png and f0_png.png would both be written as f0_png_s00.png" in errors
    assert not (tmp_path / "out").exists()


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
        ({"memory_gib": float("inf")}, "--memory-gib inf: must be above 0 and finite"),
        ({"memory_gib": 1e308}, "--memory-gib 1e.308: must be above 0 and finite"),
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
    (tmp_path / "clip.mp4").write_bytes(b"no video")
    with pytest.raises(TimError, match="clip.mp4: no frame of it can be decoded"):
        sample_files(tmp_path / "clip.mp4", tmp_path / "out", checkpoint)
    assert not (tmp_path / "out").exists()
