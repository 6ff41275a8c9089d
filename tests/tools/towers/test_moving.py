"""A moving picture: a closed walk through latents, of all levels or of the fine ones alone."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from tim_plugin.degradations.base import Observed
from tim_plugin.inference import towers as pretrained
from tim_plugin.utils.images import list_images
from towers.moving import between, walk

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def tower():
    return pretrained.load("sr8x-small").network


def test_a_walk_keeps_what_it_is_told_to_and_the_input(tower):
    lq = torch.rand(1, 3, 4, 5, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.2
    frames = walk(tower, Observed(lq), 6)
    assert frames.shape == (6, 3, 32, 40) and 0 <= frames.min() and frames.max() <= 1
    steps = [(a - b).abs().mean() for a, b in zip(frames, frames.roll(-1, 0), strict=True)]
    assert min(steps) > 0.001  # it never stands still, also from the last to the first
    assert walk(tower, Observed(lq), 6, tower.spec.num_levels - 1)[0].equal(frames[0])
    fine = walk(tower, Observed(lq), 6, tower.spec.num_levels - 1)
    assert (fine - fine[0]).abs().mean() < (frames - frames[0]).abs().mean()
    shrunk = tower.degradation.degrade(frames[2]).lq
    assert (shrunk - lq[0]).square().mean() < 10**-4.5  # 45 dB


def test_each_step_is_standard_normal(tower):
    from tim_plugin.imle.latents import Latents

    shapes = tower.latent_shapes(64, 64)
    stations = [Latents.from_keys(shapes, [[(0, station, level) for level in range(3)]]) for station in range(3)]
    for way in (0.0, 0.1, 0.5, 0.9):
        noise = between(stations, 0, way).noise
        assert abs(noise.mean()) < 0.03 and abs(noise.std() - 1) < 0.03


def _command(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["make_moving_picture.py", *map(str, arguments)])
    runpy.run_path(str(ROOT / "tools" / "make_moving_picture.py"), run_name="__main__")


def test_the_command_writes_an_animation_and_refuses_in_one_line(photos, tmp_path, monkeypatch, capsys):
    photograph, path = list_images(photos)[0], tmp_path / "out" / "moving.png"
    given = ("--model", "sr8x-small", "--photograph", photograph, "-o", path)
    _command(monkeypatch, *given, "--side", 32, "--frames", 3)
    with Image.open(path) as picture:
        assert picture.n_frames == 3 and picture.info["duration"] == 100 and picture.size[0] > 3 * 32
    for wrong, message in (("--side", "--side 128: must be a multiple of"), ("--coarse", "must be from 1 to 2")):
        with pytest.raises(SystemExit):
            _command(monkeypatch, *given, wrong, 128)
        assert message in capsys.readouterr().err
