"""A model as BasicSR builds it, on made-up examples, for benchmarks of its optimizer steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from basicsr.models import build_model

from speed.settings import Setting

REUSE = 10**4  # steps by one search, more than are timed; the order of all is drawn with it


def model_of(
    setting: Setting,
    batch_size: int,
    device: str = "cpu",
    rank: int = 0,
    processes: int = 1,
    imle: Mapping[str, Any] | None = None,
    **train: Any,
) -> Any:
    """Build a TIMModel that takes steps on made-up examples.

    Args:
        setting: Network and sizes.
        batch_size: Examples a step.
        device: ``cpu`` or ``cuda``.
        rank: Of this process.
        processes: 1 wraps nothing.
        imle: Its section; None searches once, with one candidate, and trains on what it has found ever after.
        train: Our keys of the ``train`` section; ``fused`` goes to the optimizer.

    Returns:
        The model, fed with a batch: each call of its ``optimize_parameters(i)`` is one step.
    """
    opt = _options(setting, batch_size, imle, train)
    opt |= {"num_gpu": 0 if device == "cpu" else 1, "dist": processes > 1, "rank": rank, "world_size": processes}
    torch.manual_seed(0)
    model = build_model(opt)
    generator, side = torch.Generator().manual_seed(rank), setting.lq_px
    shapes = {"lq": side, "gt": side * opt["scale"]}
    model.feed_data({name: torch.rand(batch_size, 3, size, size, generator=generator) for name, size in shapes.items()})
    return model


def _options(
    setting: Setting, batch_size: int, imle: Mapping[str, Any] | None, train: dict[str, Any]
) -> dict[str, Any]:
    """Return the options of a run of one process; see :func:`model_of`."""
    optimizer = {"type": "Adam", "lr": 1e-4, **{key: train.pop(key) for key in ("fused",) if key in train}}
    search_once = {"samples_per_level": 1, "pool_size": batch_size, "reuse": REUSE, "search_batch": 1}
    dataset = {"name": "made_up", "type": "None", "batch_size_per_gpu": batch_size, "num_worker_per_gpu": 0}
    distance = {"backbone": "squeezenet1_1", "weights": "random", "calibration": "none"}
    return {
        "name": "benchmark",
        "model_type": "TIMModel",
        "scale": 2 ** setting.network.get("num_levels", 4),
        "manual_seed": 0,
        "is_train": True,
        "path": {},
        "datasets": {"train": dataset},
        "network_g": {"type": "TowerGenerator", **setting.network},
        "imle": search_once if imle is None else dict(imle),
        "train": {
            "ema_decay": 0.999,
            "total_iter": 10**6,
            "optim_g": optimizer,
            "scheduler": {"type": "MultiStepLR", "milestones": [10**6]},
            "perceptual_opt": {"type": "PerceptualDistanceLoss", **distance},
            **train,
        },
        "logger": {"print_freq": 10**6, "save_checkpoint_freq": 10**6, "use_tb_logger": False},
    }
