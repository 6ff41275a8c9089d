"""Training and testing by one call: option files by name, and options overridden by key or by section."""

from __future__ import annotations

import pytest
import torch

import tim_plugin as tim
from tim_plugin.utils.errors import TimError


@pytest.fixture
def overrides(photos, tiny_network):
    """What makes the package's option files tiny."""
    small = {key: value for key, value in tiny_network.items() if key != "num_levels"}
    return {"num_gpu": 0, "network_g": {**small, "num_levels": 2}}


def test_train_then_load_then_test(tmp_path, photos, overrides):
    seen = []
    folder = tim.train(
        "sr4x",
        {
            **overrides,
            "datasets": {
                "train": {"dataroot_gt": photos, "gt_size": 32, "batch_size_per_gpu": 2, "num_worker_per_gpu": 0},
                "val:dataroot_gt": photos,
                "val:gt_size": None,
            },
            "train": {"total_iter": 2, "perceptual_opt": {"type": "PixelDistanceLoss"}},
            "imle": {"pool_size": 2, "reuse": 1, "samples_per_level": 2},
            "val": {"val_freq": 100, "num_samples": 1, "metrics": None},
            "logger:use_tb_logger": False,
        },
        root=tmp_path,
        on_step=lambda iteration, log: seen.append(iteration),
    )
    assert seen == [1, 2] and folder.parent == tmp_path / "experiments"
    checkpoint = folder / "models" / "net_g_latest.pth"
    tower = tim.load(checkpoint, device="cpu")
    assert (tower.task, tower.num_levels) == ("sr4x", 2)
    assert tower.sample(torch.rand(3, 8, 8), n=2).images.shape == (2, 3, 32, 32)

    results = tim.test(
        "sr4x",
        {
            **overrides,
            "datasets": {"test_1": {"dataroot_gt": photos, "gt_size": None}},
            "path:pretrain_network_g": checkpoint,
            "val": {"num_samples": 2, "metrics": None},
        },
        root=tmp_path,
    )
    assert results.parent == tmp_path / "results"
    assert len(list((results / "visualization").rglob("*_s01.png"))) == len(list(photos.iterdir()))


def test_mistakes_are_one_sentence(tmp_path):
    for arguments, message in (
        (("sr4y",), "^sr4y: is neither an option file nor one of the package for phase 'train': did you mean 'sr4x'"),
        ((tmp_path / "none.yml",), "none.yml: cannot be read"),
        (("sr4x", {"imle": {"reuze": 3}}), "imle: unknown key 'reuze': did you mean 'reuse'"),
        (("sr4x", {"imel:reuse": 3}), "no section 'imel'"),
    ):
        with pytest.raises(TimError, match=message):
            tim.train(*arguments, root=tmp_path)
    assert list(tmp_path.iterdir()) == []
