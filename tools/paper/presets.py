"""What each preset trains and measures: the systems of the tables, their option files, and what is changed of these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

ABLATIONS: tuple[tuple[str, Mapping[str, Any]], ...] = (  # cumulative, as in the paper's table 5
    ("full", {}),
    ("-HS", {"imle:sampling": "vanilla"}),
    ("-MN", {"network_g:mapping": False}),
    ("-IS", {"imle:intermediate_supervision": False}),
    ("-WN", {"network_g:weight_norm": False}),
)


@dataclass(frozen=True)
class System:
    """A row of a table.

    Attributes:
        name: For people.
        option_file: Below the project.
        overrides: Options that replace the file's, as ``--force_yml`` names them.
        several: Whether it gives different samples for one input.
        trained: Whether there is anything to train.
        note: What a reader has to know beside its figures.
        sampling: Of ``network_g``, what samples are made with in place of what was trained with.
    """

    name: str
    option_file: str
    overrides: Mapping[str, Any] = field(default_factory=dict)
    several: bool = True
    trained: bool = True
    note: str = ""
    sampling: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Preset:
    """Sizes, seeds and features of all targets.

    Attributes:
        name: As on the command line.
        systems: By task; the first is TIM.
        seeds: Of the ablation's training runs; the comparison takes the first.
        num_samples: Samples of each input.
        gt_px: Side of what is measured.
        halve: Photographs are taken at half their size and cut into tiles of ``gt_px``; else their centre is taken.
        distance: ``backbone`` and ``calibration`` of the distance between images.
        inception: FID on Inception features; else on the distance's own network.
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

    def tim(self, task: str) -> System:
        """TIM of a task."""
        return self.systems[task][0]


SMALL_SIZES = {
    "datasets:train:gt_size": 64,
    "datasets:train:resize": "none",
    "datasets:train:batch_size_per_gpu": 8,
    "datasets:train:num_worker_per_gpu": 0,
    "datasets:val:gt_size": 64,
    "datasets:val:resize": "none",
    "val": None,
    "logger:print_freq": 50,
    "logger:save_checkpoint_freq": 100,
    "logger:use_tb_logger": False,
    "train:ema_decay": 0.99,
    "num_gpu": 0,
}
SMALL_SEARCH = {
    "imle:samples_per_level": 6,
    "imle:pool_size": 32,
    "imle:reuse": 4,
    "imle:search_batch": 8,
    "imle:max_candidates_per_batch": 64,
    "train:perceptual_opt:backbone": "squeezenet1_1",
    "train:perceptual_opt:calibration": "none",
}


def length_of(iterations: int) -> dict[str, Any]:
    """Return the options of a run of so many iterations, whose rate falls after 0.7 and 0.9 of them."""
    milestones = [max(int(iterations * share), 1) for share in (0.7, 0.9)]
    return {"train:total_iter": iterations, "train:scheduler:milestones": milestones}


def _small(
    name: str, file: str, iterations: int, lr: float, network: Mapping[str, Any], *, searches: bool = False, **rest: Any
) -> System:
    """A compared system at the small preset's size, for a fixed number of iterations."""
    overrides = {
        **SMALL_SIZES,
        **(SMALL_SEARCH if searches else {}),
        **{f"network_g:{key}": value for key, value in network.items()},
        "train:optim_g:lr": lr,
        **length_of(iterations),
        "train:scheduler:gamma": 0.3,
    }
    return System(name, f"options/baselines/{file}", overrides, **rest)


OUR_ADAPTATION = "our adaptation: no architecture was published for the task"


def _adapted_cimle(task: str) -> System:
    network = {"width": 16, "num_stacks": 2}
    return _small("cIMLE", f"train_cimle_{task}.yml", 1200, 1e-3, network, searches=True, note=OUR_ADAPTATION)


def _regression(task: str, iterations: int) -> System:
    """The small tower with one candidate: nothing is selected."""
    overrides = {
        "imle:sampling": "vanilla",
        "imle:samples_per_level": 1,
        "imle:pool_size": 8,
        "imle:reuse": 1,
        **length_of(iterations),
    }
    return System("regression (the tower)", f"tools/paper/options/train_small_{task}.yml", overrides)


# Iterations give each system about the time of TIM's 1,200, by the seconds of an iteration that table 2 measures.
SMALL = Preset(
    name="small",
    systems={
        "sr16x": (
            System("TIM", "tools/paper/options/train_small_sr16x.yml"),
            _small("cIMLE", "train_cimle_sr16x.yml", 700, 1e-3, {"width": 24}, searches=True),
            _small(
                "RFB-ESRGAN (regression)",
                "train_rfb_esrgan_sr16x.yml",
                1900,
                5e-4,
                {"num_feat": 32, "num_block": 2, "num_rfb_block": 1, "num_grow_ch": 16},
                several=False,
            ),
            _small(
                "ESRGAN twice 4x (regression)",
                "train_esrgan_sr16x.yml",
                2100,
                5e-4,
                {"num_feat": 32, "num_block": 3, "num_grow_ch": 16},
                several=False,
            ),
            _regression("sr16x", 1200),
            System("bicubic", "options/baselines/test_bicubic_sr16x.yml", {"num_gpu": 0}, several=False, trained=False),
        ),
        "decompression": (
            System("TIM", "tools/paper/options/train_small_decompression.yml"),
            _adapted_cimle("decompression"),
            _small("DnCNN", "train_dncnn_decompression.yml", 2000, 1e-3, {"num_feat": 24}, several=False),
            _regression("decompression", 1200),
        ),
        "colorization": (
            System("TIM", "tools/paper/options/train_small_colorization.yml"),
            _adapted_cimle("colorization"),
            _small("Zhang et al. 2016", "train_zhang_colorization.yml", 7800, 1e-3, {"widths": [12, 24, 48, 96]}),
            _small(
                "Iizuka et al. 2016",
                "train_iizuka_colorization.yml",
                15_000,
                1.0,
                {"width": 8, "global_px": 64},
                several=False,
                note="without its classification loss",
            ),
            _small(
                "Larsson et al. 2016",
                "train_larsson_colorization.yml",
                7200,
                1e-2,
                {"stage_channels": [12, 24, 48, 64, 64], "fc_channels": 64, "fc_kernel": 3, "hidden": 128},
                several=False,
                note="from scratch",
            ),
            _regression("colorization", 1200),
        ),
    },
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
)
PRESETS = {preset.name: preset for preset in (SMALL, GPU, PAPER)}
