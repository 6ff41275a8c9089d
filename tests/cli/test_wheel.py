"""The wheel, installed into an empty folder, works without the project: commands, option files, towers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tim_plugin.utils.images import read_image, write_png

ROOT = Path(__file__).resolve().parents[2]
PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    for part in ("tim_plugin", "options", "tools", "wheels"):
        shutil.copytree(ROOT / part, folder / "source" / part, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, folder / "source")
    options = ("--no-deps", "--no-build-isolation", "-w", folder)
    subprocess.run([*PIP, "wheel", *options, folder / "source"], check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    target = folder / "installed"
    subprocess.run([*PIP, "install", "--no-deps", "--target", target, wheel], check=True, capture_output=True)
    return target


def run(installed, folder, *arguments):
    """Run the installed command in a folder, without the project's own."""
    environment = {**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, installed / "bin" / "tim", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


def test_the_wheel_holds_the_library_and_the_tasks_options_and_not_the_laboratory(installed):
    held = {path.name for path in installed.iterdir() if not path.name.endswith(".dist-info")}
    assert held == {"tim_plugin", "bin"}
    options = installed / "tim_plugin" / "options" / "tasks"
    there, ours = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.yml")}
        for folder in (options, ROOT / "options")
    )
    assert there == ours


def test_the_command_works_in_a_folder_of_ones_own(installed, tmp_path):
    printed = run(installed, tmp_path, "options", "sr16x")
    assert printed.returncode == 0 and printed.stdout == (ROOT / "options" / "train_tim_sr16x.yml").read_text()
    assert "sr16x-small" in run(installed, tmp_path, "models").stdout
    write_png(tmp_path / "thumbnail.png", torch.rand(3, 8, 8))
    arguments = ("-i", "thumbnail.png", "-o", "out", "-m", "sr16x-small", "-n", 2, "--device", "cpu")
    done = run(installed, tmp_path, "sample", *arguments)
    assert done.returncode == 0, done.stderr
    assert read_image(tmp_path / "out" / "thumbnail_s01.png").rgb.shape == (3, 128, 128)
    failed = run(installed, tmp_path, "train", "sr16x", "--force_yml", "num_gpu=0")
    assert failed.returncode == 2 and failed.stderr.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in failed.stderr and "dataroot_gt" in failed.stderr
