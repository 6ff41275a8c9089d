"""The README's commands, run as they stand: training with the sizes of a small network behind them."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

from tests.docs.pages import ROOT, blocks, commands
from tim_plugin.cli.main import main

README = (ROOT / "README.md").read_text()
COMMANDS = {" ".join(words): words[1:] for words in commands(README) if words[0] == "tim"}


def small_training(network):
    """Overrides that make one iteration of a tower with few channels out of any super-resolution's option file."""
    sizes = {key: value for key, value in network.items() if key not in ("type", "num_levels")}
    return [
        *(f"network_g:{key}={value}" for key, value in sizes.items()),
        *("datasets:train:gt_size=32", "datasets:train:resize=none", "datasets:train:num_worker_per_gpu=0"),
        *("datasets:val:gt_size=32", "val:num_samples=2", "num_gpu=0"),
        *("imle:pool_size=1", "imle:reuse=1", "imle:samples_per_level=2", "logger:use_tb_logger=false"),
        *("train:total_iter=1", "train:perceptual_opt={type: PixelDistanceLoss}"),
    ]


# tim explore serves until it is ended; tests/explorer does that.
@pytest.mark.parametrize("command", [one for one in COMMANDS if one.split()[1] != "explore"])
def test_commands_of_the_readme_run(command, inputs, photos, tiny_network, monkeypatch):
    monkeypatch.chdir(inputs)
    for name in ("PHOTOS", "PHOTOS_VAL"):
        (inputs / name).symlink_to(photos)
    words = COMMANDS[command] + (small_training(tiny_network) if " train " in command else [])
    main(words)
    if words[0] == "train":
        assert (inputs / "experiments" / "TIM_SR16x" / "models" / "net_g_latest.pth").is_file()
    else:
        record = json.loads((inputs / "results" / "samples" / "samples.json").read_text())
        (entry,) = record["images"]
        assert len(entry["samples"]) == int(re.search(r"-n (\d+)", command)[1])


def test_the_readme_shows_how_to_sample_and_to_train():
    assert {command.split()[1] for command in COMMANDS} == {"sample", "train", "explore"}


def test_make_runs_what_the_readme_says(monkeypatch):
    """The demo, the tests and the installation that it names are what the Makefile calls; each is tested by itself."""
    for name in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL"):  # the tests may be run by make themselves
        monkeypatch.delenv(name, raising=False)
    called = {
        target: subprocess.run(
            ["make", "--dry-run", "--always-make", target], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
        for target in ("demo", "test")
    }
    shell = "\n".join(blocks(README, "sh"))
    assert all(re.search(rf"^make {target}\b", shell, re.MULTILINE) for target in called)
    assert "python tools/demo.py sr16x" in called["demo"] and "python -m pytest" in called["test"]
    assert "pip install -e ." in shell and all("install" in made and "-e '." in made for made in called.values())
