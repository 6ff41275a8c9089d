"""What is named to be sampled becomes a list of inputs: of files, folders and several of these."""

from __future__ import annotations

import pytest

from tim_plugin.inference.arguments import SampleOptions
from tim_plugin.inference.files import sample_files
from tim_plugin.inference.inputs import as_paths, list_inputs
from tim_plugin.utils.errors import TimError


def test_files_and_folders_are_listed_in_order_and_each_once(tmp_path, frames):
    found = list_inputs(as_paths([str(frames / "f2.png"), frames, frames / "f1.png"]), tmp_path / "out", "x")
    assert [one.path for one in found] == [frames / "f2.png", frames / "f0.png", frames / "f1.png"]
    assert [one.name for one in found] == ["f2_x", "f0_x", "f1_x"] and [one.key for one in found] == ["f2", "f0", "f1"]
    assert found[0].read() == (frames / "f2.png").read_bytes()


def test_one_name_in_two_folders_is_told_apart_by_the_folders(tmp_path, frames):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "f0.png").write_bytes((frames / "f0.png").read_bytes())
    both = [frames / "f0.png", tmp_path / "other" / "f0.png"]
    found = list_inputs(both, tmp_path / "out", "")
    assert [one.name for one in found] == [f"{frames.name}_f0", "other_f0"] and {one.key for one in found} == {"f0"}


def test_no_input_and_a_folder_that_is_written_to_are_refused(tmp_path, frames):
    with pytest.raises(TimError, match="-i: names no input"):
        list_inputs([], tmp_path / "out", "")
    with pytest.raises(TimError, match="nowhere.png: there is no such image or folder"):
        list_inputs([frames, frames / "nowhere.png"], tmp_path / "out", "")
    with pytest.raises(TimError, match="is the folder of inputs"):
        list_inputs([frames], frames, "")
    with pytest.raises(TimError, match="is the folder of the input"):
        list_inputs([frames / "f0.png", frames], frames, "")


def test_several_inputs_are_sampled_as_each_by_itself(tmp_path, checkpoint, frames):
    options = SampleOptions(num_samples=2, seed=3, with_contact_sheet=False)
    several = sample_files([frames / "f0.png", frames / "f2.png"], tmp_path / "a", checkpoint, options)
    single = sample_files(frames / "f2.png", tmp_path / "b", checkpoint, num_samples=2, seed=3)
    assert [entry["input"] for entry in several] == [str(frames / "f0.png"), str(frames / "f2.png")]
    assert several[1] == {**single[0], "sheet": None}
    written = sorted(path.name for path in (tmp_path / "a").glob("*.png"))
    assert written == ["f0_s00.png", "f0_s01.png", "f2_s00.png", "f2_s01.png"]
    for name in written[2:]:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_several_inputs_of_which_one_fails_are_named(tmp_path, checkpoint, frames, capsys):
    (frames / "f1.png").write_bytes(b"")
    sources = [frames / f"f{index}.png" for index in range(3)]
    with pytest.raises(TimError, match=r"-i .*f0.png, .*f1.png, .*f2.png: 1 of 3 images could not be sampled"):
        sample_files(sources, tmp_path / "out", checkpoint, num_samples=1)
    assert f"skipped: {frames / 'f1.png'}: is an empty file" in capsys.readouterr().err
