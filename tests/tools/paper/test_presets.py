"""What the presets change of the published option files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from paper.presets import PAPER, PRESETS
from tim_plugin.options.checks import check_options
from tim_plugin.options.option_file import read_with_overrides
from tim_plugin.utils.networks import network_of

ROOT = Path(__file__).resolve().parents[3]


def test_the_paper_preset_changes_nothing_of_the_published_files():
    for systems in PAPER.systems.values():
        assert all(one.overrides == {} for one in systems)
    assert PAPER.inception and PAPER.distance == {"backbone": "vgg16", "calibration": "lpips"}


@pytest.mark.parametrize(
    ("task", "name"), [(task, one.name) for task in PRESETS["gpu"].systems for one in PRESETS["gpu"].systems[task]]
)
def test_the_gpu_preset_is_a_network_of_some_ten_million_parameters_at_128_pixels(task, name, photos):
    system = next(one for one in PRESETS["gpu"].systems[task] if one.name == name)
    opt, _ = read_with_overrides(ROOT / system.option_file, system.overrides)
    for section in opt["datasets"].values():
        section["dataroot_gt"] = str(photos)
        assert section["gt_size"] == 128 or not system.trained
    check_options(opt)
    with torch.device("meta"):
        network = network_of(opt["network_g"])
    parameters = sum(one.numel() for one in network.parameters())
    if opt["network_g"]["type"] == "TowerGenerator":
        assert 10e6 < parameters < 30e6
    if system.trained:
        milestones = opt["train"]["scheduler"]["milestones"]
        assert milestones == sorted(milestones) and milestones[-1] < opt["train"]["total_iter"] == 20_000
    if "perceptual_opt" in opt.get("train", {}):
        distance = {key: opt["train"]["perceptual_opt"][key] for key in ("backbone", "calibration")}
        assert distance == PRESETS["gpu"].distance
