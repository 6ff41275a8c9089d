"""The wheel, installed into an empty folder, works without the project: commands, option files, towers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import torch
import yaml

ROOT = Path(__file__).resolve().parents[2]
PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    ignored = shutil.ignore_patterns("__pycache__", "_vendor")
    for part in ("tim_plugin", "options", "tools", "wheels"):
        shutil.copytree(ROOT / part, folder / "source" / part, ignore=ignored)
    for name in ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"):
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
    given = (ROOT / "options" / "train_tim_sr16x.yml").read_text()
    assert printed.returncode == 0 and yaml.safe_load(printed.stdout) == yaml.safe_load(given)
    assert "sr16x-small" in run(installed, tmp_path, "models").stdout
    failed = run(installed, tmp_path, "train", "sr16x", "--force_yml", "num_gpu=0")
    assert failed.returncode == 2 and failed.stderr.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in failed.stderr and "dataroot_gt" in failed.stderr


EACH_TOWER = """
import sys
from tim_plugin.cli.main import main
for name, suffix in zip(sys.argv[1::2], sys.argv[2::2]):
    main(["sample", "-i", f"in{suffix}", "-o", name, "-m", name, "-n", "2", "--device", "cpu", "--quiet"])
"""


def test_every_tower_samples_by_the_command_without_the_project(installed, tmp_path):
    towers = [line.split()[0] for line in run(installed, tmp_path, "models").stdout.splitlines()]
    assert len(towers) >= 7
    photo = (torch.rand(3, 4, 4).repeat_interleave(8, 1).repeat_interleave(8, 2) * 255).byte().permute(1, 2, 0).numpy()
    cv2.imwrite(str(tmp_path / "in.jpg"), photo, [cv2.IMWRITE_JPEG_QUALITY, 5])
    cv2.imwrite(str(tmp_path / "in.png"), photo[..., :1] // 24)  # as labels, below CamVid's eleven classes
    words = [word for name in towers for word in (name, ".jpg" if name.startswith("decompress") else ".png")]
    environment = {**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", EACH_TOWER, *words]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert all(len(list((tmp_path / name).glob("*_s0?.png"))) == 2 for name in towers)
