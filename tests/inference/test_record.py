"""samples.json: which entries stay, which are doubted, and what is made anew."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path

import pytest
import torch

from tim_plugin.inference.files import sample_files
from tim_plugin.inference.inputs import list_inputs
from tim_plugin.inference.record import written_files
from tim_plugin.utils.checkpoints import save_atomically
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.images import write_pixels


def entries_of(folder):
    return json.loads((folder / "samples.json").read_text())["images"]


def inputs_of(folder):
    return sorted(Path(entry["input"]).name for entry in entries_of(folder))


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.png")}


def test_a_record_that_is_damaged_or_another_programs_is_named_and_never_overwritten(tmp_path, checkpoint, frames):
    record = tmp_path / "out" / "samples.json"
    sample_files(frames, tmp_path / "out", checkpoint, num_samples=1)
    for content in ("{", '{"images": [{"input": "x", "samples": []}]}', '{"images": [3]}', "[]"):
        for skip_existing in (False, True):
            record.write_text(content)
            with pytest.raises(TimError, match="samples.json: is no record of samples .*: remove it, or give another"):
                sample_files(frames, tmp_path / "out", checkpoint, num_samples=1, skip_existing=skip_existing)
            assert record.read_text() == content
    for name in ("x" * 300, "a\0b", "\ud800"):  # no names of files
        record.write_text(json.dumps({"overview": name, "images": [{"input": "x", "samples": [{"file": name}]}]}))
        sample_files(frames, tmp_path / "out", checkpoint, num_samples=1, skip_existing=True)
        assert inputs_of(tmp_path / "out") == ["f0.png", "f1.png", "f2.png"]


def test_a_pipe_in_the_place_of_the_record_is_not_waited_for(tmp_path, frames):
    os.mkfifo(frames / "samples.json")
    assert written_files(frames / "samples.json") == set()
    assert len(list_inputs([frames], tmp_path / "out", "")) == 3


@pytest.mark.parametrize("name", ["samples.json", "f0_s00.png"])
def test_a_folder_in_the_place_of_a_file_is_an_error_before_anything_is_said_to_be_done(
    tmp_path, checkpoint, frames, capsys, name
):
    (tmp_path / "out" / name).mkdir(parents=True)
    with pytest.raises(TimError, match=f"{name}: .*(is no regular file|Is a directory)"):
        sample_files(frames, tmp_path / "out", checkpoint, num_samples=1)
    assert "image(s)" not in capsys.readouterr().out


@pytest.mark.parametrize("killed", [False, True], ids=["ends", "is killed"])
def test_samples_that_a_run_with_another_seed_leaves_keep_their_own(tmp_path, checkpoint, frames, killed):
    run = partial(sample_files, frames / "f0.png", tmp_path / "out", checkpoint)
    run(num_samples=3, seed=0)
    with pytest.MonkeyPatch.context() as patch:
        if killed:
            patch.setattr("tim_plugin.inference.record.SampleRecord.save", lambda record: None)
        run(num_samples=1, seed=1)
    run(num_samples=1, seed=1, suffix="b")
    seeds = {one["file"]: one["seed"] for entry in entries_of(tmp_path / "out") for one in entry["samples"]}
    expected = {"f0_s00.png": 1, "f0_s01.png": 0, "f0_s02.png": 0, "f0_b_s00.png": 1}
    assert seeds == {name: seed for name, seed in expected.items() if not killed or name != "f0_s00.png"}
    assert {entry["sheet"] for entry in entries_of(tmp_path / "out")} >= {None, "f0_b_sheet.png"}
    run(num_samples=3, seed=0, skip_existing=True)
    (first, _) = sorted(entries_of(tmp_path / "out"), key=lambda entry: -len(entry["samples"]))
    assert [one["seed"] for one in first["samples"]] == [0, 0, 0] and first["sheet"] == "f0_sheet.png"


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


def test_samples_of_another_input_are_not_overwritten_without_a_word(tmp_path, checkpoint, frames, capsys, monkeypatch):
    first, second, output = tmp_path / "A", tmp_path / "B", tmp_path / "out"
    for folder in (first, second):
        folder.mkdir()
        for name in ("x.png", "y.png"):
            (folder / name).write_bytes((frames / "f0.png").read_bytes())
    run = partial(sample_files, output=output, model=checkpoint, num_samples=1)
    run(first)
    run(first)
    monkeypatch.chdir(tmp_path)
    run(Path("A"), seed=1)
    run(Path("A") / "x.png", with_contact_sheet=False)
    assert "note: " not in capsys.readouterr().err
    run(second)
    (note,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")]
    assert note.startswith(f"note: {output}: the samples of A/x.png are overwritten by those of {second / 'x.png'}, ")
    run(second)
    run(first, suffix="b")
    assert "note: " not in capsys.readouterr().err


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


def test_a_sample_that_is_not_finite_takes_no_entry_away(tmp_path, checkpoint, frames, capsys):
    sample_files(frames, tmp_path / "out", checkpoint, num_samples=1)
    broken = torch.load(checkpoint, weights_only=True)
    next(iter(broken["params"].values())).fill_(torch.nan)
    save_atomically(broken, tmp_path / "broken.pth")
    before = contents(tmp_path / "out")
    with pytest.raises(TimError, match="3 of 3 images could not be sampled"):  # each is left out by name
        sample_files(frames, tmp_path / "out", tmp_path / "broken.pth", num_samples=1)
    assert capsys.readouterr().err.count("gives values that are not finite") == 3
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
