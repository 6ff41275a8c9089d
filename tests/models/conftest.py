"""Options of a tiny TIMModel, as BasicSR's parser would give them."""

from __future__ import annotations

import pytest


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
