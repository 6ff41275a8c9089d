"""Checks of the ``datasets`` section: keys, crop sizes, folders; no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tim_plugin.options.sections import check_numbers, refuse_misspelling, require
from tim_plugin.options.specs import TowerSpec, check_keys
from tim_plugin.options.values import require_bool, require_choice, require_number
from tim_plugin.utils.errors import TimError

LOADER_KEYS = set(
    "name type phase scale io_backend dataroot_gt dataroot_lq "
    "meta_info_file gt_size use_hflip use_rot num_worker_per_gpu "
    "batch_size_per_gpu dataset_enlarge_ratio prefetch_mode num_prefetch_queue pin_memory persistent_workers".split()
)
# What each dataset reads beyond BasicSR's loader keys.
DATASET_KEYS = {
    "DegradedImageDataset": set(
        "task seed resize rarity max_images quality subsampling palette void num_classes void_index basis "
        "num_components".split()
    ),
    "PairedImageDataset": {"filename_tmpl", "color", "mean", "std"},
}
# What each cannot do without: always, and in training.
REQUIRED = {
    "DegradedImageDataset": (("task", "dataroot_gt"), ("gt_size",)),
    "PairedImageDataset": (("dataroot_gt", "dataroot_lq", "io_backend"), ("gt_size", "use_hflip", "use_rot")),
}
RARITY_KEYS = {"file", "resample", "weight"}
DIGIT_FILES = (".gz", "-ubyte", ".idx3")  # their reader says what is wrong with them
# Whole numbers, and the least that each may be.
LEAST = {"batch_size_per_gpu": 1, "num_worker_per_gpu": 0, "dataset_enlarge_ratio": 1, "max_images": 1, "seed": 0}
SWITCHES = ("use_hflip", "use_rot", "pin_memory", "persistent_workers")
RARITY_SWITCHES = ("resample", "weight")
RESIZES = ("none", "short_side", "whole")
PREFETCH_MODES = ("cpu", "cuda")
BACKENDS = ("disk", "lmdb", "memcached")
PHASES = {True: ("train", "val"), False: ("test", "val")}


def check_datasets(datasets: Mapping[str, Any], training: bool, spec: TowerSpec | None) -> None:
    """Check every dataset, and that the one that is needed is there.

    Args:
        datasets: The section, by phase (``train``, ``val``, ``val_2``, ``test_1``).
        training: Training needs ``train``; a test needs any.
        spec: The tower, for what sizes must divide by; None for other networks.

    Raises:
        TimError: For the first thing that is wrong.
    """
    for phase, dataset in datasets.items():
        if phase.split("_")[0] not in PHASES[training]:
            raise TimError(f"datasets: {phase}: must begin with {' or '.join(PHASES[training])}")
        if not isinstance(dataset, Mapping):
            raise TimError(f"datasets: {phase}: must be a section with keys, not {dataset!r}")
        _check_dataset(f"datasets: {phase}", dataset, phase.split("_")[0] == "train", spec)
    if training and "train" not in datasets:
        raise TimError("datasets: train is missing: the images to train on")


def _check_dataset(section: str, dataset: Mapping[str, Any], training: bool, spec: TowerSpec | None) -> None:
    require(section, dataset, ("name", "type"))
    kind = dataset["type"]
    refuse_misspelling(f"{section}: type", kind, DATASET_KEYS)
    if kind in DATASET_KEYS:
        check_keys(section, dataset, LOADER_KEYS | DATASET_KEYS[kind])
        always, in_training = REQUIRED[kind]
        require(section, dataset, always + in_training if training else always)
    if training:
        require(section, dataset, ("batch_size_per_gpu", "num_worker_per_gpu"))
    check_numbers(section, dataset, ("gt_size",))
    for key, least in LEAST.items():
        if dataset.get(key) is not None:
            require_number(f"{section}: {key}", dataset[key], int, minimum=least)
    if dataset.get("prefetch_mode") is not None:
        require_choice(f"{section}: prefetch_mode", dataset["prefetch_mode"], PREFETCH_MODES)
    if dataset.get("prefetch_mode") == "cuda" and dataset.get("pin_memory") is not True:
        raise TimError(f"{section}: prefetch_mode 'cuda' needs pin_memory: true")
    rarity, backend = (_below(section, dataset, key) for key in ("rarity", "io_backend"))
    check_keys(f"{section}: rarity", rarity, RARITY_KEYS)
    for name, options, switches in ((section, dataset, SWITCHES), (f"{section}: rarity", rarity, RARITY_SWITCHES)):
        for key in switches:
            if options.get(key) is not None:
                require_bool(f"{name}: {key}", options[key])
    require_choice(f"{section}: resize", dataset.get("resize") or "none", RESIZES)
    if backend:
        require_choice(f"{section}: io_backend: type", backend.get("type"), BACKENDS)
    _check_gt_size(section, dataset.get("gt_size"), spec)
    for key in ("dataroot_gt", "dataroot_lq"):
        value = str(dataset.get(key) or "")
        if value and not value.startswith("sklearn:") and not value.endswith(DIGIT_FILES):
            _check_folder(f"{section}: {key}", Path(value).expanduser())


def _below(section: str, dataset: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    inner = dataset.get(key) or {}
    if not isinstance(inner, Mapping):
        raise TimError(f"{section}: {key}: must be a section with keys, not {inner!r}")
    return inner


def _check_gt_size(section: str, given: int | list[int] | None, spec: TowerSpec | None) -> None:
    sizes = given if isinstance(given, (list, tuple)) else [] if given is None else [given]
    listed = isinstance(given, (list, tuple))
    if (listed and len(sizes) != 2) or any(isinstance(size, bool) or not isinstance(size, int) for size in sizes):
        raise TimError(f"{section}: gt_size {given!r} must be a side in pixels, or [height, width]")
    for size in sizes if spec is not None else ():
        _check_side(section, size, spec)


def _check_side(section: str, size: int, spec: TowerSpec) -> None:
    multiple = spec.gt_multiple
    if size % multiple or size < 1:
        lower = size // multiple * multiple
        near = " or ".join(str(value) for value in (lower, lower + multiple) if value)
        raise TimError(
            f"{section}: gt_size {size} is not a multiple of {multiple}, which {spec.num_levels} levels need: "
            f"use {near}"
        )


def _check_folder(name: str, folder: Path) -> None:
    if not folder.is_dir():
        raise TimError(f"{name}: there is no folder {folder}; give the folder that holds the images")
    if not any(folder.iterdir()):
        raise TimError(f"{name}: the folder {folder} is empty; put images into it, or give another")
