"""tools/sample.py: what is refused or left out, with which message and exit status."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from tim_plugin.inference.memory_plan import plan_for
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.images import write_png


def entries_of(folder):
    return json.loads((folder / "samples.json").read_text())["images"]


def inputs_of(folder):
    return sorted(Path(entry["input"]).name for entry in entries_of(folder))


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
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("f*.png")}
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

    monkeypatch.setattr("tim_plugin.inference.backends.plan_for", plan)
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

    monkeypatch.setattr("tim_plugin.inference.planning.plan_for", cannot)
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


def test_a_single_file_s_own_folder_is_no_folder_for_its_samples(tmp_path, frames, command):
    (tmp_path / "link").symlink_to(frames)
    before = sorted(frames.iterdir())
    for output in (frames, tmp_path / "link"):
        status, printed, errors = command(source=frames / "f0.png", output=output)
        assert status == 2 and f"error: -o {output}: is the folder of the input" in errors and not printed
        assert f"such as {output / 'samples'}" in errors and sorted(frames.iterdir()) == before


def test_samples_that_an_earlier_run_wrote_are_not_sampled_from_their_folder(tmp_path, frames, command):
    output = tmp_path / "out"
    assert command(output=output)[0] == 0
    written = {path.name for path in output.glob("*.png")}
    assert written == {"samples_overview.png", *(f"f{i}_{end}.png" for i in range(3) for end in ("s00", "sheet"))}
    status, printed, errors = command(source=output, output=tmp_path / "second")
    assert status == 2 and "holds no image but what an earlier run wrote" in errors and not printed
    write_png(output / "new.png", torch.rand(3, 5, 6))
    status, printed, errors = command(source=output, output=tmp_path / "second")
    assert status == 0 and "1 image(s)" in printed and inputs_of(tmp_path / "second") == ["new.png"]
    assert f"left out: 7 of 8 images of {output}, which its samples.json lists as written by an earlier run" in errors
    (output / "samples.json").write_text("[]")  # another program's: it lists nothing of ours
    status, _, errors = command("--max-megapixels", 0.009, source=output, output=tmp_path / "third")
    assert "left out" not in errors and inputs_of(tmp_path / "third") == ["new.png"]


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


def test_inputs_of_like_names_have_samples_of_their_own(tmp_path, frames, command):
    for name in ("f0.jpg", "f0_png.png"):
        (frames / name).write_bytes((frames / "f0.png").read_bytes())
    status, _, errors = command("-n", 1)
    assert status == 0, errors
    written = [one for entry in entries_of(tmp_path / "out") for one in entry["samples"]]
    assert len({sample["file"] for sample in written}) == 5 == len(list((tmp_path / "out").glob("*_s00.png")))
