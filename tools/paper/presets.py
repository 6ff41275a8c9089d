"""What each preset trains and measures: the systems of the tables, sizes, seeds, features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from paper.small_systems import SMALL_SYSTEMS
from paper.systems import OUR_ADAPTATION, System, length_of

ABLATIONS: tuple[tuple[str, Mapping[str, Any]], ...] = (  # cumulative, as in the paper's table 5
    ("full", {}),
    ("-HS", {"imle:sampling": "vanilla"}),
    ("-MN", {"network_g:mapping": False}),
    ("-IS", {"imle:intermediate_supervision": False}),
    ("-WN", {"network_g:weight_norm": False}),
)


@dataclass(frozen=True)
class Preset:
    """Sizes, seeds and features of all targets.

    Attributes:
        name: As on the command line.
        systems: By task; the first is TIM.
        seeds: Of the training runs of the tables; the rivals' page takes the first.
        num_samples: Samples of each input.
        gt_px: Side of what is measured.
        halve: Photographs are taken at half their size and cut into tiles of ``gt_px``; else their centre is taken.
        distance: ``backbone`` and ``calibration`` of the distance between images.
        inception: FID on Inception features; else on the distance's own network.
        equal_time: Systems are trained for TIM's time; else for the iterations of their option files.
        fwv_scale: What distances are divided by for the faithfulness-weighted variance, whose sigma is meant for LPIPS.
    """

    name: str
    systems: Mapping[str, tuple[System, ...]]
    seeds: tuple[int, ...]
    num_samples: int
    gt_px: int
    halve: bool
    distance: Mapping[str, str]
    inception: bool
    fwv_scale: float
    equal_time: bool = True

    def tim(self, task: str) -> System:
        """TIM of a task."""
        return self.systems[task][0]


SMALL = Preset(
    name="small",
    systems=SMALL_SYSTEMS,
    seeds=(0, 1, 2),
    num_samples=8,
    gt_px=64,
    halve=True,
    distance={"backbone": "squeezenet1_1", "calibration": "none"},
    inception=False,
    fwv_scale=20.0,
)


def _published(name: str, file: str, **rest: Any) -> System:
    return System(name, f"options/baselines/{file}", **rest)


PAPER = Preset(
    name="paper",
    systems={
        "sr16x": (
            System("TIM", "options/train_tim_sr16x.yml"),
            _published("cIMLE", "train_cimle_sr16x.yml"),
            _published("RFB-ESRGAN (regression)", "train_rfb_esrgan_sr16x.yml", several=False),
            _published("ESRGAN twice 4x (regression)", "train_esrgan_sr16x.yml", several=False),
            _published("regression (the tower)", "train_regression_sr16x.yml"),
            _published("bicubic", "test_bicubic_sr16x.yml", several=False, trained=False),
        ),
        "decompression": (
            System("TIM", "options/train_tim_decompression.yml"),
            _published("cIMLE", "train_cimle_decompression.yml", note=OUR_ADAPTATION),
            _published("DnCNN", "train_dncnn_decompression.yml", several=False),
            _published("regression (the tower)", "train_regression_decompression.yml"),
        ),
        "colorization": (
            System("TIM", "options/train_tim_colorization.yml"),
            _published("cIMLE", "train_cimle_colorization.yml", note=OUR_ADAPTATION),
            _published("Zhang et al. 2016", "train_zhang_colorization.yml"),
            _published("Iizuka et al. 2016", "train_iizuka_colorization.yml", several=False),
            _published("Larsson et al. 2016", "train_larsson_colorization.yml", several=False),
            _published("regression (the tower)", "train_regression_colorization.yml"),
        ),
    },
    seeds=(0,),
    num_samples=10,
    gt_px=256,
    halve=False,
    distance={"backbone": "vgg16", "calibration": "lpips"},
    inception=True,
    fwv_scale=1.0,
    equal_time=False,
)

GPU_ITERATIONS = 20_000
GPU_SIZES = {  # of every system: 128x128 outputs, 8x8 inputs to super-resolution
    "datasets:train:gt_size": 128,
    "datasets:train:resize": "short_side",
    "datasets:train:batch_size_per_gpu": 8,
    "datasets:val:gt_size": 128,
    "datasets:val:resize": "short_side",
    "val": None,
    "logger:save_checkpoint_freq": 1000,
    "logger:use_tb_logger": False,
    **length_of(GPU_ITERATIONS),
    "train:scheduler:gamma": 0.3,
}
GPU_TOWER = {  # 17 M parameters: a twelfth of the published tower, so three times its learning rate
    "network_g:trunk_channels": [64, 64, 48, 32],
    "network_g:growth_channels": [96, 96, 64, 48],
    "network_g:num_blocks": 2,
    "network_g:mapping_width": 256,
    "network_g:mapping_layers": 4,
    "network_g:mapping_init": "he",
    "train:optim_g:lr": 3e-4,
    "train:optim_g:mapping_lr_mult": 0.1,
}
GPU_DISTANCE = {f"train:perceptual_opt:{key}": value for key, value in SMALL.distance.items()}
GPU_SEARCH = {
    "imle:samples_per_level": 12,
    "imle:pool_size": 128,
    "imle:reuse": 8,
    "imle:search_batch": 8,
    "imle:max_candidates_per_batch": 96,
}


def _on_gpu(system: System) -> System:
    """A system of the paper's preset with smaller outputs and our tower, smaller; other networks are as published."""
    if not system.trained:
        return system
    if system.option_file.startswith("options/train_tim_"):
        system = replace(system, option_file=system.option_file.replace(".yml", "_variant.yml"))
    kind, overrides = system.option_file.rsplit("/", 1)[-1], dict(GPU_SIZES)
    if kind.startswith(("train_tim_", "train_regression_")):
        overrides |= GPU_TOWER | GPU_DISTANCE
    if kind.startswith(("train_tim_", "train_cimle_")):
        overrides |= GPU_SEARCH | GPU_DISTANCE
    return replace(system, overrides=overrides)


GPU = replace(
    PAPER,
    name="gpu",
    systems={task: tuple(_on_gpu(one) for one in systems) for task, systems in PAPER.systems.items()},
    seeds=SMALL.seeds,
    num_samples=SMALL.num_samples,
    gt_px=128,
    distance=SMALL.distance,
    inception=False,
    fwv_scale=SMALL.fwv_scale,
    equal_time=True,
)
PRESETS = {preset.name: preset for preset in (SMALL, GPU, PAPER)}
