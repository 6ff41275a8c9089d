"""A tiny checkpoint, small inputs, and the command that samples them."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest
import torch

from tim_plugin.utils.checkpoints import save_atomically
from tim_plugin.utils.images import write_png

ROOT = Path(__file__).resolve().parents[2]


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
