"""An option file of a tiny tower, for commands that train and test."""

from __future__ import annotations

import pytest
import yaml


@pytest.fixture
def option_file(tmp_path, photos, tiny_network):
    """Write an option file for six iterations of a tiny tower; returns its path."""
    opt = {
        "name": "tiny",
        "model_type": "TIMModel",
        "scale": 16,
        "num_gpu": 0,
        "manual_seed": 0,
        "datasets": {
            "train": {
                "name": "train",
                "type": "DegradedImageDataset",
                "task": "sr16x",
                "dataroot_gt": str(photos),
                "gt_size": 32,
                "use_hflip": True,
                "use_rot": True,
                "num_worker_per_gpu": 0,
                "batch_size_per_gpu": 2,
                "io_backend": {"type": "disk"},
            },
            "val": {
                "name": "held_out",
                "type": "DegradedImageDataset",
                "task": "sr16x",
                "dataroot_gt": str(photos),
                "io_backend": {"type": "disk"},
            },
        },
        "network_g": {**tiny_network, "consistency": "project"},
        "imle": {"samples_per_level": 2, "pool_size": 4, "reuse": 2},
        "path": {"experiments_root": str(tmp_path / "experiments"), "resume_state": None},
        "train": {
            "ema_decay": 0.9,
            "total_iter": 6,
            "warmup_iter": -1,
            "optim_g": {"type": "Adam", "lr": 1.0e-3},
            "scheduler": {"type": "MultiStepLR", "milestones": [100]},
            "perceptual_opt": {"type": "PixelDistanceLoss"},
        },
        "val": {
            "val_freq": 6,
            "save_img": True,
            "num_samples": 2,
            "metrics": {"psnr": {"type": "calculate_psnr", "crop_border": 0}},
        },
        "logger": {"print_freq": 1, "save_checkpoint_freq": 3, "use_tb_logger": False},
    }

    def write(change=lambda opt: None, name="options.yml"):
        change(opt)
        path = tmp_path / name
        path.write_text(yaml.safe_dump(opt, sort_keys=False))
        return path

    return write
