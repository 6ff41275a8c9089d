"""Sampling a folder: memory, tiles and batches change no sample; what is there is skipped; errors name the image."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tim_plugin.inference.files import sample_files
from tim_plugin.utils.checkpoints import save_atomically
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.images import write_png

ROOT = Path(__file__).resolve().parents[2]


def pixels(folder):
    return {path.name: cv2.imread(str(path)).astype(int) for path in sorted(folder.glob("*_s0?.png"))}


def entries_of(folder):
    return json.loads((folder / "samples.json").read_text())["images"]


def test_tiles_batches_and_memory_change_no_sample(tmp_path, checkpoint, frames):
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


def test_values_that_are_not_finite_are_an_error_that_names_the_image(tmp_path, checkpoint, frames, capsys):
    content = torch.load(checkpoint, weights_only=True)
    next(iter(content["params"].values())).fill_(torch.nan)
    save_atomically(content, checkpoint)
    with pytest.raises(TimError, match="3 of 3 images could not be sampled"):
        sample_files(frames, tmp_path / "out", checkpoint, num_samples=1)
    assert "f0.png: image f0: the network gives values that are not finite" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_is_there_is_skipped_and_what_changed_is_made_anew(tmp_path, checkpoint, frames, monkeypatch, capsys):
    output = tmp_path / "out"

    def run(*extra):
        """Sample by the command line; return which inputs were computed."""
        before = {path.name: path.stat().st_mtime_ns for path in output.glob("f*.png")}
        command = ["sample.py", "-i", frames, "-o", output, "-m", checkpoint, "-n", 2, "--skip-existing", *extra]
        monkeypatch.setattr(sys, "argv", [str(part) for part in command])
        runpy.run_path(str(ROOT / "tools" / "sample.py"), run_name="__main__")
        entries = json.loads((output / "samples.json").read_text())["images"]
        assert sorted(Path(entry["input"]).name for entry in entries) == ["f0.png", "f1.png", "f2.png"]
        after = {path.name: path.stat().st_mtime_ns for path in output.glob("f*.png")}
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
    assert run("--seed", 1, "--tile", 9, "--batch", 1) == set()  # they change no sample
    assert run("--seed", 1, "--precision", "bf16") == {"f0", "f1", "f2"}


def test_an_image_that_cannot_be_written_is_an_error(tmp_path, checkpoint, frames):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "f1_s00.png").mkdir()
    with pytest.raises(TimError, match="f1_s00.png: cannot be written"):
        sample_files(frames, tmp_path / "out", checkpoint, num_samples=1)
    done = [Path(one["input"]).name for one in json.loads((tmp_path / "out" / "samples.json").read_text())["images"]]
    assert "f0.png" in done and "f1.png" not in done
