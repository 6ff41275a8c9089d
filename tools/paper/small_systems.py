"""What the small preset compares: networks and lengths that two CPU cores train in minutes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from paper.systems import ALL_FEATURES, EVERY_LEVEL, IN_FULL, OUR_ADAPTATION, TEXT, System, length_of

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


LENGTH = 1200  # of TIM; the others take its time
SINGLE_CANDIDATE = {"imle:sampling": "vanilla", "imle:samples_per_level": 1, "imle:pool_size": 8, "imle:reuse": 1}


def _tower(task: str, name: str = "TIM", changes: Mapping[str, Any] | None = None, **rest: Any) -> System:
    return System(name, f"tools/paper/options/train_small_{task}.yml", changes or {}, **rest)


def _regression(task: str) -> System:
    """The small tower with one candidate: nothing is selected."""
    return _tower(task, "regression (the tower)", {**SINGLE_CANDIDATE, **length_of(LENGTH)}, as_costly=True)


def _small(
    name: str, file: str, lr: float, network: Mapping[str, Any], *, searches: bool = False, **rest: Any
) -> System:
    """A compared system at the small preset's size."""
    overrides = {
        **SMALL_SIZES,
        **(SMALL_SEARCH if searches else {}),
        **{f"network_g:{key}": value for key, value in network.items()},
        "train:optim_g:lr": lr,
        **length_of(LENGTH),
        "train:scheduler:gamma": 0.3,
    }
    return System(name, f"options/baselines/{file}", overrides, **rest)


def _as_costly(system: System, what: str, **network: Any) -> System:
    """The system in another size, with which a sample takes about as many multiplications as TIM's."""
    changes = {f"network_g:{key}": value for key, value in network.items()}
    overrides = {**system.overrides, **changes}
    return replace(system, name=f"{system.name}, {what}", overrides=overrides, in_time=False, as_costly=True)


def _super_resolution() -> tuple[System, ...]:
    rfb_esrgan = _small(
        "RFB-ESRGAN (regression)",
        "train_rfb_esrgan_sr16x.yml",
        5e-4,
        {"num_feat": 32, "num_block": 2, "num_rfb_block": 1, "num_grow_ch": 16},
        several=False,
    )
    esrgan = _small(
        "ESRGAN twice 4x (regression)",
        "train_esrgan_sr16x.yml",
        5e-4,
        {"num_feat": 32, "num_block": 3, "num_grow_ch": 16},
        several=False,
    )
    cimle = _small("cIMLE", "train_cimle_sr16x.yml", 1e-3, {"width": 24}, searches=True)
    bicubic = "options/baselines/test_bicubic_sr16x.yml"
    return (
        _tower("sr16x", as_costly=True),
        _tower("sr16x", TEXT, EVERY_LEVEL, as_costly=True),
        cimle,
        rfb_esrgan,
        esrgan,
        _regression("sr16x"),
        _as_costly(cimle, "width 10", width=10),
        _as_costly(rfb_esrgan, "16 blocks", num_block=16),
        _as_costly(esrgan, "24 channels", num_feat=24, num_grow_ch=12),
        System("bicubic", bicubic, {"num_gpu": 0}, several=False, trained=False),
    )


def _adapted_cimle(task: str) -> System:
    network = {"width": 16, "num_stacks": 2}
    return _small("cIMLE", f"train_cimle_{task}.yml", 1e-3, network, searches=True, note=OUR_ADAPTATION)


def _decompression() -> tuple[System, ...]:
    cimle = _adapted_cimle("decompression")
    dncnn = _small("DnCNN", "train_dncnn_decompression.yml", 1e-3, {"num_feat": 24}, several=False)
    return (
        _tower("decompression", as_costly=True),
        _tower("decompression", IN_FULL, ALL_FEATURES, as_costly=True),
        cimle,
        dncnn,
        _regression("decompression"),
        _as_costly(cimle, "width 11", width=11),
        _as_costly(dncnn, "19 channels", num_feat=19),
    )


def _colorization() -> tuple[System, ...]:
    cimle = _adapted_cimle("colorization")
    zhang = _small("Zhang et al. 2016", "train_zhang_colorization.yml", 1e-3, {"widths": [12, 24, 48, 96]})
    iizuka = _small(
        "Iizuka et al. 2016",
        "train_iizuka_colorization.yml",
        1.0,
        {"width": 8, "global_px": 64},
        several=False,
        note="without its classification loss",
    )
    larsson = _small(
        "Larsson et al. 2016",
        "train_larsson_colorization.yml",
        1e-2,
        {"stage_channels": [12, 24, 48, 64, 64], "fc_channels": 64, "fc_kernel": 3, "hidden": 128},
        several=False,
        note="from scratch",
    )
    smaller = {"stage_channels": [9, 18, 36, 48, 48], "fc_channels": 48, "hidden": 92}
    return (
        _tower("colorization", as_costly=True),
        cimle,
        zhang,
        iizuka,
        larsson,
        _regression("colorization"),
        _as_costly(cimle, "width 12", width=12),
        _as_costly(zhang, "19 to 152 channels", widths=[19, 38, 76, 152]),
        _as_costly(iizuka, "width 32", width=32),
        _as_costly(larsson, "9 to 48 channels", **smaller),
    )


SMALL_SYSTEMS = {
    "sr16x": _super_resolution(),
    "decompression": _decompression(),
    "colorization": _colorization(),
}
