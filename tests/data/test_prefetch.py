"""BasicSR's prefetch modes with our dataset and pipeline."""

from __future__ import annotations

import shutil

import pytest
import torch
import yaml

from tim_plugin.models.pipeline import train_pipeline
from tim_plugin.utils.errors import TimError


@pytest.fixture
def train(tmp_path, photos, tiny_network):
    """Return a function that trains three iterations with loader options and gives the weights."""

    def run(name, folder=photos, **loader):
        opt = {
            "name": name,
            "model_type": "TIMModel",
            "scale": 16,
            "num_gpu": 0,
            "manual_seed": 0,
            "datasets": {
                "train": {
                    "name": "t",
                    "type": "DegradedImageDataset",
                    "task": "sr16x",
                    "dataroot_gt": str(folder),
                    "gt_size": 32,
                    "use_hflip": True,
                    "batch_size_per_gpu": 2,
                    "num_worker_per_gpu": 0,
                    **loader,
                }
            },
            "network_g": dict(tiny_network),
            "imle": {"samples_per_level": 1, "pool_size": 2, "reuse": 1},
            "path": {"experiments_root": str(tmp_path)},
            "train": {
                "total_iter": 5,
                "optim_g": {"type": "Adam", "lr": 1e-3},
                "scheduler": {"type": "MultiStepLR", "milestones": [100]},
                "perceptual_opt": {"type": "PixelDistanceLoss"},
            },
            "logger": {"print_freq": 100, "save_checkpoint_freq": 100, "use_tb_logger": False},
        }
        (tmp_path / f"{name}.yml").write_text(yaml.safe_dump(opt))
        train_pipeline(str(tmp_path), ["-opt", str(tmp_path / f"{name}.yml")])
        return torch.load(tmp_path / name / "models" / "net_g_latest.pth", weights_only=True)["params"]

    return run


def test_prefetching_changes_no_bit_over_epochs(train):
    plain, ahead = train("plain"), train("ahead", prefetch_mode="cpu", num_prefetch_queue=2)
    assert all(torch.equal(plain[name], value) for name, value in ahead.items())


def test_a_damaged_image_ends_a_prefetching_run_with_its_name(train, tmp_path, photos):
    folder = tmp_path / "damaged"
    shutil.copytree(photos, folder)
    for path in folder.iterdir():
        path.write_bytes(b"no image")
    with pytest.raises(TimError, match="photo.*png"):
        train("broken", folder, prefetch_mode="cpu")


@pytest.mark.parametrize(
    ("loader", "message"),
    [
        ({"prefetch_mode": "gpu"}, "datasets: train: prefetch_mode 'gpu' is not known"),
        ({"prefetch_mode": "cuda"}, "prefetch_mode 'cuda' needs pin_memory: true"),
        ({"prefetch_mode": "cuda", "pin_memory": True}, "prefetch_mode 'cuda' copies to a GPU, and there is none"),
    ],
)
def test_a_mistake_is_named(train, loader, message):
    with pytest.raises(TimError, match=message):
        train("wrong", **loader)
