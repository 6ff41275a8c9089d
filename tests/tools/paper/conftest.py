"""The arguments of tools/reproduce.py, and a workbench with tiny networks."""

from __future__ import annotations

import argparse
import dataclasses
import json

import pytest
import torch
import torchvision
import yaml

from paper import posterior_figures, step_time
from paper.presets import SMALL
from paper.workbench import Workbench
from tim_plugin.metrics import feature_extractors
from tim_plugin.options.option_file import read_option_file
from tim_plugin.utils.images import read_image, write_png
from tim_plugin.utils.resize import bicubic_resize

TINY_SYSTEMS = {
    "train_cimle_sr16x.yml": {"width": 4},
    "train_rfb_esrgan_sr16x.yml": {"num_feat": 16, "num_block": 1, "num_rfb_block": 1, "num_grow_ch": 16},
    "train_esrgan_sr16x.yml": {"num_feat": 4, "num_block": 1, "num_grow_ch": 4},
}


def tiny_system(system):
    changes = {}
    if system.trained:
        changes = {"train:total_iter": 2, "logger:save_checkpoint_freq": 1, "logger:print_freq": 1}
        changes["datasets:train:batch_size_per_gpu"] = 2
    for key, value in TINY_SYSTEMS.get(system.option_file.rsplit("/", 1)[-1], {}).items():
        changes[f"network_g:{key}"] = value
    if any(key.startswith("imle:") for key in system.overrides):
        changes |= {"imle:samples_per_level": 2, "imle:pool_size": 2, "imle:reuse": 1, "imle:search_batch": 2}
    return dataclasses.replace(system, overrides={**system.overrides, **changes})


@pytest.fixture
def arguments():
    """Return a function: of what is given it makes all arguments, the others as they are by default, on the CPU."""

    def complete(**given):
        defaults = {
            "preset": "small",
            "mnist": None,
            "features": None,
            "tasks": None,
            "seeds": None,
            "jobs": 1,
            "finished": False,
            "add": False,
            "name": None,
            "device": "cpu",
        }
        return argparse.Namespace(**{**defaults, **given})

    return complete


@pytest.fixture
def bench(project_copy, photos, tiny_network, tmp_path, monkeypatch):
    """The small preset with tiny networks, two iterations, one seed, two samples, and random SqueezeNet weights."""
    for task in ("sr16x",):
        path = project_copy / "tools" / "paper" / "options" / f"train_small_{task}.yml"
        opt = json.loads(json.dumps(read_option_file(path)))
        opt["network_g"].update({key: value for key, value in tiny_network.items() if key != "type"})
        opt["imle"].update(samples_per_level=2, pool_size=4, reuse=2, search_batch=2)
        path.write_text(yaml.safe_dump(opt, sort_keys=False))
    for phase in ("train", "val"):
        for file in sorted(photos.iterdir())[:3]:
            image = bicubic_resize(read_image(file).rgb, (272, 272)).clamp(0, 1)
            write_png(project_copy / "data" / phase / file.name, image)
    torch.manual_seed(0)
    torch.save(torchvision.models.squeezenet1_1().state_dict(), tmp_path / "squeeze.pth")
    systems = {"sr16x": tuple(tiny_system(one) for one in SMALL.systems["sr16x"])}
    preset = dataclasses.replace(SMALL, systems=systems, seeds=(0,), num_samples=2)
    monkeypatch.setattr(step_time, "TIMED_STEPS", 2)
    monkeypatch.setattr(posterior_figures, "INPUTS", 2)
    monkeypatch.setattr(posterior_figures, "NUM_SAMPLES", 3)
    monkeypatch.setattr(feature_extractors, "PACKAGE", "not_installed")  # one judge of two, the faster one
    return Workbench(project_copy, preset, project_copy / "data", str(tmp_path / "squeeze.pth"), "cpu", jobs=2)
