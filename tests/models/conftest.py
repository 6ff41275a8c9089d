"""A tiny TIMModel, its options as BasicSR's parser would give them, and its steps."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from basicsr.models import build_model

import tim_plugin as tim

BATCH = 4  # of the models whose steps are looked at


@pytest.fixture
def model_options(tmp_path, tiny_network):
    """Return a function: of the batch size, the ``imle`` section and keys of ``train`` it makes complete options."""

    def build(batch_size, imle, **train):
        data = {"name": "t", "type": "None", "batch_size_per_gpu": batch_size, "num_worker_per_gpu": 0}
        return {
            "name": "tiny",
            "model_type": "TIMModel",
            "scale": 16,
            "num_gpu": 0,
            "manual_seed": 0,
            "is_train": True,
            "dist": False,
            "rank": 0,
            "world_size": 1,
            "path": {name: str(tmp_path) for name in ("models", "training_states", "visualization")},
            "datasets": {"train": data},
            "network_g": dict(tiny_network),
            "imle": imle,
            "train": {
                "ema_decay": 0.9,
                "total_iter": 100,
                "optim_g": {"type": "Adam", "lr": 1e-2},
                "scheduler": {"type": "MultiStepLR", "milestones": [100]},
                "perceptual_opt": {"type": "PixelDistanceLoss"},
                **train,
            },
            "logger": {"print_freq": 1, "save_checkpoint_freq": 1, "use_tb_logger": False},
        }

    return build


@pytest.fixture
def step_options(model_options):
    """Return a function that gives complete options, with keys of ``train`` and another network."""

    def made(network=None, **train):
        imle = {"samples_per_level": 2, "pool_size": BATCH, "reuse": 2, "search_batch": 2, "jitter": 0.1}
        optimizer = {"type": "Adam", "lr": 1e-3, "eps": 1e-4, **train.pop("optim_g", {})}
        found = model_options(BATCH, imle, optim_g=optimizer, **train)
        return found if network is None else {**found, "network_g": dict(network)}

    return made


@pytest.fixture
def build(step_options):
    """Return a function that builds a tiny TIMModel with keys of ``train``, the same for the same keys."""

    def builder(**train):
        torch.manual_seed(0)
        return build_model(step_options(**train))

    return builder


@pytest.fixture
def step():
    """Return a function that lets a model take one step; its batch depends on the iteration alone."""

    def take(model, iteration):
        generator = torch.Generator().manual_seed(iteration)
        batch = {
            "lq": torch.rand(BATCH, 3, 2, 2, generator=generator),
            "gt": torch.rand(BATCH, 3, 32, 32, generator=generator),
        }
        model.feed_data(batch)
        model.optimize_parameters(iteration)

    return take


@pytest.fixture
def farthest():
    """Return a function that gives the largest difference between the parameters of two networks."""

    def largest(a, b):
        parameters = zip(a.parameters(), b.parameters(), strict=True)
        return max(float((x - y).detach().abs().max()) for x, y in parameters)

    return largest


@pytest.fixture
def train(tmp_path, photos, tiny_network):
    """Return a function that trains a tiny tower, in the folder of this name, with these options besides."""

    def run(name, auto_resume=False, on_step=None, **changes):
        overrides = {
            "name": name,
            "num_gpu": 0,
            "network_g": {key: value for key, value in tiny_network.items() if key != "num_levels"} | {"num_levels": 2},
            "datasets": {
                "train": {"dataroot_gt": photos, "gt_size": 16, "batch_size_per_gpu": 2, "num_worker_per_gpu": 0},
                "val": {"dataroot_gt": photos, "gt_size": None},
            },
            "datasets:train:dataset_enlarge_ratio": 1,  # an epoch has three iterations
            "train": {"total_iter": 6, "perceptual_opt": {"type": "PixelDistanceLoss"}},
            "imle": {"pool_size": 4, "reuse": 2, "samples_per_level": 2, "search_batch": 2},
            "val": {"val_freq": 100, "num_samples": 1, "metrics": None},
            "logger": {"use_tb_logger": False, "save_checkpoint_freq": 100},
            **changes,
        }
        return tim.train("sr4x", overrides, root=tmp_path, auto_resume=auto_resume, on_step=on_step)

    return run


@pytest.fixture
def options(tmp_path, photos, tiny_network):
    """Return a function that gives complete options, as BasicSR's parser would."""

    def build(**imle):
        paths = {name: str(tmp_path / name) for name in ("models", "training_states", "visualization")}
        for path in paths.values():
            Path(path).mkdir(exist_ok=True)
        return OrderedDict(
            name="tiny",
            model_type="TIMModel",
            scale=16,
            num_gpu=0,
            manual_seed=0,
            is_train=True,
            dist=False,
            rank=0,
            world_size=1,
            path=paths,
            datasets={
                "train": {
                    "name": "t",
                    "type": "DegradedImageDataset",
                    "task": "sr16x",
                    "dataroot_gt": str(photos),
                    "gt_size": 32,
                    "batch_size_per_gpu": 2,
                    "num_worker_per_gpu": 0,
                }
            },
            network_g=dict(tiny_network),
            imle={"samples_per_level": 3, "pool_size": 4, "reuse": 2, "search_batch": 2, **imle},
            train={
                "ema_decay": 0.9,
                "total_iter": 100,
                "optim_g": {"type": "Adam", "lr": 1e-2, "betas": [0.9, 0.99]},
                "scheduler": {"type": "MultiStepLR", "milestones": [4], "gamma": 0.5},
                "perceptual_opt": {"type": "PixelDistanceLoss"},
            },
            val={"val_freq": 10, "save_img": True, "num_samples": 3},
            logger={"print_freq": 1, "save_checkpoint_freq": 1, "use_tb_logger": False},
        )

    return build
