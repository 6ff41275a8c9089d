"""Mutated option files, through the real checks; what is accepted is trained for two iterations on tiny networks."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import math
import os
import random
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import yaml

from faults.runner import Case, Silent
from tim_plugin.models.pipeline import train_pipeline
from tim_plugin.options.option_file import parse_options
from tim_plugin.utils.checkpoints import read_checkpoint

NUMBERS = [-1, 0, 1, 3, 2.5, -0.5, 1e-30, 1e30, 2**40, 2**70, -(2**70), math.nan, math.inf, -math.inf]
KINDS = ["x", "", "1e-4", "off", "été", "a\x07b", "true", "~", True, False, None, [], {}, [1, 2], ["x", None], {"x": 1}]
MUTATIONS = ["delete", "rename", "number", "kind", "text", "wrap", "list", "unknown", *["near"] * 4, *["more"] * 4]
# What is much work when it is large, and so is made small once the checks have passed.
MOST = {"samples_per_level": 3, "num_samples": 2, "pool_size": 4, "reuse": 2, "dataset_enlarge_ratio": 3}
MOST |= {"total_iter": 2, "batch_size_per_gpu": 4, "num_worker_per_gpu": 0, "mapping_layers": 8, "num_blocks": 4}
MOST |= {"num_block": 4, "max_candidates_per_batch": 8, "accumulate": 4}
SLOW = ("compile", "search_compile", "search_ahead")  # start a compiler or a process
WORDS = ["RRDBNet", "EDSR", "MSRResNet", "TowerGenerator", "StackedGenerator", "SRModel", "BaselineModel", "TIMModel"]
WORDS += ["SGD", "AdamW", "Adadelta", "MultiStepLR", "CosineAnnealingRestartLR", "L1Loss", "MSELoss", "CharbonnierLoss"]
WORDS += ["PerceptualLoss", "PixelDistanceLoss", "WeightedTVLoss", "GANLoss", "calculate_niqe", "calculate_ssim", "sum"]
WORDS += [
    "SingleImageDataset",
    "PairedImageDataset",
    "DegradedImageDataset",
    "FFHQDataset",
    "vanilla",
    "chimle",
    "same",
]
WORDS += ["project", "lmdb", "memcached", "bf16", "fp16", "jpeg", "colorization", "sr8x", "cpu", "cuda", "y", "whole"]
WORDS += ["short_side", "nowhere.pth", "gray", "lower", "ab", "pytorch", "params_ema", "none", "calculate_s10"]
# Keys that the base files do not have.
MORE = {
    "train": {"scheduler": {"type": "MultiStepLR", "milestones": [2], "gamma": 1}, "pixel_opt": {"type": "MSELoss"}},
    "optim_g": {"eps": 1e-3, "amsgrad": True, "fused": True, "foreach": True, "nesterov": True, "momentum": 0.5},
    "imle": {"search_precision": "bf16", "search_memory_gib": 0.5, "channels_last": True, "search_ahead": False},
    "network_g": {"condition_every_level": True, "mapping_sees_below": True, "head": "ab", "degradation": "jpeg"},
    "datasets": {"val_2": None, "test": None, "train_2": None},
    "metrics": {"niqe": {"type": "calculate_niqe", "crop_border": 0}, "div": {"type": "calculate_lpips_diversity"}},
    "path": {"experiments_root": "here", "ignore_resume_networks": ["network_g"], "pretrain_network_d": None},
    "val": {"grids": True},
}
MORE["val_"] = {"persistent_workers": True, "color": "y", "meta_info_file": "m.txt", "gt_size": [16, 32]}
MORE["train_"] = {**MORE["val_"], "num_prefetch_queue": 2, "rarity": {"resample": True}, "scale": 2, "phase": "val"}
FREE = {("val", "metrics")}  # sections whose keys are names of the user's own


def cases(root: Path, count: int, seed: int) -> Iterator[Case]:
    """Yield mutants of the base files; each is a pure function of the seed and its number."""
    for name, side in (("gt", 48), ("lq", 12)):
        (root / name).mkdir()
        for index in range(4):
            pixels = np.random.default_rng(index).integers(0, 256, (side, side, 3), np.uint8)
            cv2.imwrite(str(root / name / f"{index}.png"), pixels)
    bases = [make(root) for make in (tower_options, _paired, _baseline)]
    for number in range(count):
        generator = random.Random(f"{seed}-{number}")
        opt = copy.deepcopy(bases[number % len(bases)])
        done = [_mutate(opt, generator) for _ in range(1 if number % 4 else 2)]
        label = f"{number} ({opt.get('model_type')!r}): " + "; ".join(text for text, _ in done)
        yield Case(label, partial(_run, root, number, opt, any(is_unread for _, is_unread in done)))


# the base files -------------------------------------------------------------------------------------------------------


def tower_options(root: Path) -> dict[str, Any]:
    data = {"type": "DegradedImageDataset", "task": "sr4x", "dataroot_gt": str(root / "gt"), "gt_size": 32}
    crops = {"resize": "none", "use_hflip": True, "use_rot": True, "seed": 1, "max_images": 3, "prefetch_mode": None}
    loader = {"num_worker_per_gpu": 0, "batch_size_per_gpu": 2, "dataset_enlarge_ratio": 2, "pin_memory": False}
    sizes = {"trunk_channels": [2, 2], "growth_channels": 2, "noise_channels": 1, "style_dim": 2, "mapping_width": 2}
    tower = {"num_levels": 2, "num_blocks": 1, "mapping_layers": 2, **sizes, "feature_scale": 0.1, "consistency": "off"}
    search = {"sampling": "hierarchical", "samples_per_level": 2, "pool_size": 2, "reuse": 2, "search_batch": 2}
    beyond = {"reject_radius": 0, "jitter": 0.1, "shift_px": 2, "refine_steps": 1, "refine_size": 0.1}
    metrics = {"psnr": {"type": "calculate_psnr", "crop_border": 0, "test_y_channel": False}}
    metrics["ssim"] = {"type": "calculate_ssim", "crop_border": 2, "better": "higher"}
    val = {"name": "v", "type": "DegradedImageDataset", "task": "sr4x", "dataroot_gt": str(root / "gt")}
    return {
        "name": "tiny",
        "model_type": "TIMModel",
        "scale": 4,
        "num_gpu": 0,
        "manual_seed": 0,
        "datasets": {"train": {"name": "t", **data, **crops, **loader}, "val": {**val, "gt_size": 32, "max_images": 1}},
        "network_g": {"type": "TowerGenerator", "placement": "upsample", **tower},
        "imle": {**search, **beyond, "max_candidates_per_batch": 4, "search_ahead": False},
        "path": {"pretrain_network_g": None, "strict_load_g": True, "param_key_g": "params", "resume_state": None},
        "train": {
            "ema_decay": 0.9,
            "optim_g": {"type": "Adam", "lr": 1e-3, "betas": [0.9, 0.99], "weight_decay": 0, "mapping_lr_mult": 0.1},
            "scheduler": {"type": "MultiStepLR", "milestones": [1], "gamma": 0.5},
            "total_iter": 2,
            "warmup_iter": -1,
            "perceptual_opt": {"type": "PixelDistanceLoss", "loss_weight": 1.0},
            "amp": "off",
            "accumulate": 1,
            "clip_grad_norm": 10,
            "checkpoint_levels": False,
        },
        "val": {
            "val_freq": 2, "save_img": True, "num_samples": 2, "seed": 0, "contact_sheet": True, "metrics": metrics,
            "suffix": "s", "max_samples_per_batch": 2, "pbar": False,
        },
        "logger": {
            "print_freq": 1, "save_checkpoint_freq": 2, "use_tb_logger": False, "progress_bar": False,
            "wandb": {"project": None, "resume_id": None},
        },
        "dist_params": {"backend": "nccl", "port": 29500},
        "find_unused_parameters": False,
    }  # fmt: skip


def _paired(root: Path) -> dict[str, Any]:
    opt = tower_options(root)
    for phase, dataset in opt["datasets"].items():
        for key in ("task", "resize", "seed", "max_images", *(("gt_size",) if phase == "val" else ())):
            dataset.pop(key, None)
        dataset.update(type="PairedImageDataset", dataroot_lq=str(root / "lq"), io_backend={"type": "disk"})
        dataset.update(filename_tmpl="{}", mean=[0, 0, 0], std=[1, 1, 1])
    opt["network_g"].update(degradation="unknown", mapping=True, normalise=True, weight_norm=True, mapping_init="he")
    periods = {"periods": [1, 3], "restart_weights": [1, 0.5], "eta_min": 1e-7}
    opt["train"]["scheduler"] = {"type": "CosineAnnealingRestartLR", **periods}
    return opt


def _baseline(root: Path) -> dict[str, Any]:
    opt = _paired(root)
    opt.update(model_type="BaselineModel")
    del opt["imle"], opt["train"]["optim_g"]["mapping_lr_mult"], opt["train"]["perceptual_opt"]
    opt["network_g"] = {"type": "RRDBNet", "num_in_ch": 3, "num_out_ch": 3, "scale": 4, "num_feat": 2, "num_block": 1}
    opt["network_g"]["num_grow_ch"] = 2
    restarts = {"milestones": [1], "gamma": 0.5, "restarts": [0, 5], "restart_weights": [1, 1]}
    opt["train"]["scheduler"] = {"type": "MultiStepRestartLR", **restarts}
    opt["train"]["pixel_opt"] = {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"}
    return opt


# mutation -------------------------------------------------------------------------------------------------------------


def _mutate(opt: dict[str, Any], generator: random.Random) -> tuple[str, bool]:
    """Change one thing in place; return what, and whether nobody reads what there is now, so that it must be told."""
    places = list(_places(opt, ()))
    path = generator.choice(places)
    section = opt
    for key in path[:-1]:
        section = section[key]
    key, value, named = path[-1], section[path[-1]], isinstance(section, dict)
    kind = generator.choice(
        ["delete", "rename", "number", "kind", "text", "wrap", "list", "unknown", *["near"] * 4, *["more"] * 4]
    )
    where = ": ".join(map(str, path))
    if kind == "delete" and named:
        del section[key]
        return f"{where} deleted", False
    if kind == "rename" and named:
        new = generator.choice([str(key).upper(), f"{key}x", str(key)[:-2] + str(key)[:-3:-1], str(key)[1:] or "_"])
        if new != key and new not in section:
            section[new] = section.pop(key)
            return f"{where} renamed {new!r}", path[:-1] not in FREE and value is not None
    if kind == "unknown" and isinstance(value, dict) and path not in FREE:
        new = generator.choice(["optoin", 7, True, "gt_sizes", "x" * 300, "ключ"])
        value[new] = generator.choice([1, {"a": [1]}, "x"])
        return f"{where} has {new!r}", True
    if kind == "more":
        return _add(opt, generator), False
    section[key] = _near(value, generator) if kind == "near" else _other(value, kind, generator)
    return f"{where} is {section[key]!r}"[:300], False


def _places(value: Any, path: tuple) -> Iterator[tuple]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from _places(item, (*path, key))


def _add(opt: dict[str, Any], generator: random.Random) -> str:
    """Add a key that some section may have, perhaps with another value."""
    name = generator.choice(list(MORE))
    named = [path for path in _places(opt, ()) if path[-1] == name.rstrip("_")]
    found = [path for path in named if (len(path) == 2) == name.endswith("_")]
    if name in ("optim_g", "metrics"):
        found = named
    if not found:
        return "nothing"
    section = opt
    for part in found[0]:
        section = section[part]
    key = generator.choice(list(MORE[name]))
    value = MORE[name][key]
    if isinstance(section, dict):
        if value is None and name == "datasets":
            value = copy.deepcopy(section.get("val"))
        section[key] = _near(value, generator) if generator.random() < 0.3 else copy.deepcopy(value)
        value = section[key]
    return f"{': '.join(found[0])} has {key}: {value!r}"[:200]


def _near(value: Any, generator: random.Random) -> Any:
    """Return another value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return generator.choice([value + 1, value * 2, value - 1, value * 8, value * 16, -value])
    if isinstance(value, str) or value is None:
        return generator.choice(WORDS)
    return _other(value, "list" if isinstance(value, list) else "kind", generator)


def _other(value: Any, kind: str, generator: random.Random) -> Any:
    if kind == "number":
        return generator.choice(NUMBERS)
    if kind == "text" and value is not None:
        return str(value)
    if kind == "wrap":
        return generator.choice([[value], {"x": value}, {"type": value}])
    if kind == "list":
        more = value if isinstance(value, list) else [value]
        return generator.choice([more * 3, [*more, generator.choice(NUMBERS)], more[1:]])
    return copy.deepcopy(generator.choice(KINDS))


# running --------------------------------------------------------------------------------------------------------------


def _run(root: Path, number: int, opt: dict[str, Any], must_refuse: bool) -> str:
    folder, before = root / f"run{number}", Path.cwd()
    folder.mkdir()
    file = folder / "mutant.yml"
    file.write_text(yaml.safe_dump(opt, sort_keys=False, allow_unicode=True), encoding="utf-8")
    logging.disable(logging.CRITICAL)
    try:
        os.chdir(folder)
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            parse_options(str(folder), True, ["-opt", str(file)])
            if must_refuse:
                raise Silent("a key that nobody reads was accepted")
            file.write_text(yaml.safe_dump(_little(opt), sort_keys=False, allow_unicode=True), encoding="utf-8")
            torch.set_num_threads(1)
            train_pipeline(str(folder), ["-opt", str(file)], on_step=_check_step)
            _check_weights(folder)
    finally:
        os.chdir(before)
        logging.disable(logging.NOTSET)
        shutil.rmtree(folder, ignore_errors=True)
    return "accepted"


def _little(value: Any, key: Any = None) -> Any:
    """Return options with which two iterations are little work."""
    if isinstance(value, dict):
        return {name: _little(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_little(item, key) for item in value]
    if key in SLOW:
        return False
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return min(value, MOST[key]) if key in MOST and number else value


def _check_step(iteration: int, logged: Any) -> None:
    for name, value in logged.items():
        if name.startswith("l_") and not math.isfinite(float(value)):
            raise Silent(f"iteration {iteration}: {name} is {float(value)}")


def _check_weights(folder: Path) -> None:
    found = sorted(folder.rglob("net_g_latest.pth"))
    if not found:
        raise Silent("training ended, and there are no weights")
    weights = {key: value for key, value in read_checkpoint(found[0]).items() if key.startswith("params")}
    bad = []
    for group, state in weights.items():
        bad += [f"{group}: {name}" for name, value in state.items() if not torch.isfinite(value.float()).all()]
    if bad:
        raise Silent(f"weights are not finite: {', '.join(bad[:3])}")
