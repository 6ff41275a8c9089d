"""A folder of small files for commands: images, a video, digits, a checkpoint, an option file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torchvision.models import squeezenet1_1

import tim_plugin.archs.tower_arch  # noqa: F401  registers it
from faults.option_files import tower_options
from idx_files import idx_content
from tim_plugin.inference.video import VideoFiles
from tim_plugin.utils.checkpoints import save_atomically
from tim_plugin.utils.images import write_png
from tim_plugin.utils.networks import network_of

_SIZES = {"num_levels": 2, "trunk_channels": 2, "growth_channels": 2, "num_blocks": 1, "noise_channels": 1}
_STYLE = {"style_dim": 2, "mapping_width": 2, "mapping_layers": 2}
_SECTION = {"type": "TowerGenerator", "placement": "upsample", **_SIZES, **_STYLE, "degradation": {"type": "bicubic"}}


def small_checkpoint() -> dict[str, Any]:
    """Return what the checkpoint of an untrained tower for 4x super-resolution holds."""
    torch.manual_seed(0)
    state = network_of(_SECTION).state_dict()
    return {"params": state, "params_ema": state, "network_g": _SECTION}


def small_files(folder: Path) -> Path:
    """Make a folder with ``net.pth``, ``squeezenet.pth``, ``frames``, ``photos``, ``maps``, ``samples`` and more."""
    folder.mkdir()
    save_atomically(small_checkpoint(), folder / "net.pth")
    torch.save(squeezenet1_1(weights=None).state_dict(), folder / "squeezenet.pth")
    for index in range(3):
        write_png(folder / "frames" / f"{index}.png", torch.rand(3, 6, 8))
        write_png(folder / "maps" / f"{index}.png", torch.randint(12, (1, 32, 40)) / 255)
        write_png(folder / "photos" / f"{index}.png", torch.rand(3, 32, 40))
        for sample in range(2):
            write_png(folder / "samples" / f"{index}_s0{sample}.png", torch.rand(3, 32, 40))
    digits = np.frombuffer(np.random.default_rng(0).bytes(5 * 28 * 28), np.uint8).reshape(5, 28, 28)
    (folder / "digits.idx3").write_bytes(idx_content(digits))
    with VideoFiles([folder / "v.mp4"], 10) as video:
        for index in range(2):
            video.add(0, np.full((16, 16, 3), 60 * index, np.uint8))
    (folder / "train.yml").write_text(yaml.safe_dump(_training(folder), sort_keys=False))
    return folder


def _training(folder: Path) -> dict[str, Any]:
    options = tower_options(folder)
    for dataset in options["datasets"].values():
        dataset.update(dataroot_gt=str(folder / "photos"))
    options["datasets"]["train"].update(gt_size=16)
    options["datasets"]["val"].update(gt_size=None)
    options["train"].update(total_iter=4)
    options["val"].update(val_freq=2)
    return options
