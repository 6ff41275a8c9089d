"""Checks of the ``datasets`` section, and that a network and its datasets mean the same degradation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tim_plugin.options.paired_checks import channels_of, check_backend, check_paired_options
from tim_plugin.options.plain_checks import refuse_empty, refuse_misspelling, require, require_text, section_of, shown
from tim_plugin.options.sections import DATASETS, Dataset, DegradedDataset
from tim_plugin.options.tower_spec import TowerSpec
from tim_plugin.options.unet_spec import UNETS, WRITTEN
from tim_plugin.options.values import build_spec, check_section, check_value
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.signatures import NEEDED

if TYPE_CHECKING:
    from tim_plugin.degradations.base import Degradation
    from tim_plugin.degradations.tasks import Task

DIGIT_FILES = (".gz", "-ubyte", ".idx3")  # their reader says what is wrong with them
RGB_INPUTS = ("bicubic", "unknown", "jpeg")  # what PairedImageDataset can read
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
        require_text("datasets: the name of a phase", phase)
        if phase.split("_")[0] not in PHASES[training]:
            raise TimError(f"datasets: {phase}: must begin with {' or '.join(PHASES[training])}")
        if not isinstance(dataset, Mapping):
            raise TimError(f"datasets: {phase}: must be a section with keys, not {shown(dataset)}")
        _check_dataset(f"datasets: {phase}", dataset, phase.split("_")[0] == "train", spec)
    if training and "train" not in datasets:
        raise TimError("datasets: train is missing: the images to train on")


def _check_dataset(section: str, dataset: Mapping[str, Any], training: bool, spec: TowerSpec | None) -> None:
    require(section, dataset, ("name", "type"))
    require_text(f"{section}: type", dataset["type"])
    refuse_misspelling(f"{section}: type", dataset["type"], DATASETS)
    if dataset["type"] in DATASETS:
        check_section(section, DATASETS[dataset["type"]], dataset, training)
    else:  # another package's, whose own keys are none of our business
        shared = {key: value for key, value in dataset.items() if key in Dataset.keys()}
        check_section(section, Dataset, shared, training)
    check_backend(section, dataset)
    if dataset.get("prefetch_mode") == "cuda" and dataset.get("pin_memory") is not True:
        raise TimError(f"{section}: prefetch_mode 'cuda' needs pin_memory: true")
    if dataset.get("persistent_workers") and not (training and dataset.get("num_worker_per_gpu")):
        raise TimError(f"{section}: persistent_workers needs num_worker_per_gpu above 0, and validation has no workers")
    if spec is not None and dataset.get("gt_size"):
        _check_size(section, dataset["gt_size"], spec)
    refuse_empty(f"{section}: meta_info_file", dataset.get("meta_info_file"), "the file")
    for key in ("dataroot_gt", "dataroot_lq"):
        refuse_empty(f"{section}: {key}", dataset.get(key), "the folder")
        value = str(dataset.get(key) or "")
        if value and not value.startswith("sklearn:") and not value.endswith(DIGIT_FILES):
            _check_folder(f"{section}: {key}", Path(value).expanduser())


def _check_size(section: str, size: int | Sequence[int], spec: TowerSpec) -> None:
    sides = size if isinstance(size, (list, tuple)) else [size]
    for side in sides:
        _check_side(section, side, spec)
    if spec.normalise and spec.mapping and all(side == spec.gt_multiple for side in sides):
        raise TimError(
            f"{section}: gt_size {size} leaves a single pixel to the first of {spec.num_levels} levels, and its "
            f"instance norm needs more: use {2 * spec.gt_multiple} or more"
        )


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
    try:
        is_folder = folder.is_dir()
    except (OSError, ValueError):  # a name that is too long
        is_folder = False
    if not is_folder:
        raise TimError(f"{name}: there is no folder {folder}; give the folder that holds the images")
    if not any(folder.iterdir()):
        raise TimError(f"{name}: the folder {folder} is empty; put images into it, or give another")


def check_degradations(opt: Mapping[str, Any]) -> set[str]:
    """Compare the degradations of the network and of the datasets, and build each once.

    Returns:
        The names of the measures of consistency that validation has.

    Raises:
        TimError: They are not of one kind, an option that both have (a palette, a basis) differs, or an option of one
            is missing or wrong.
    """
    from tim_plugin.degradations.table import build_for_tower  # loads torch

    network = section_of(opt, "network_g")
    datasets = [(f"datasets: {phase}", section_of(opt["datasets"], phase)) for phase in section_of(opt, "datasets")]
    is_tower = network.get("type") == "TowerGenerator"  # another network checks what it is given by itself
    measured: set[str] = set()
    if is_tower:
        spec = build_spec(TowerSpec, {key: value for key, value in network.items() if key != "type"})
        for section, dataset in datasets:
            if dataset.get("type") == "DegradedImageDataset":
                _compare(section, dataset, spec)
        degradation = build_for_tower(spec.degradation, spec.scale, spec.num_in_ch, spec.num_out_ch)
        measured.update(degradation.measured)
    for section, dataset in datasets:
        if dataset.get("type") == "DegradedImageDataset":
            given = {"scale": opt["scale"], **dataset} if "scale" in opt else dataset  # as BasicSR hands it on
            task, made_by = check_degraded(section, given, section.startswith("datasets: train"))
            _check_files(section, given, task, made_by)
            if not is_tower:
                _check_channels(section, network, made_by.channels, made_by.image_channels)
                measured.update(made_by.measured)
        if dataset.get("type") in ("PairedImageDataset", "SingleImageDataset"):
            check_paired_options(section, dataset, opt.get("scale"), section.startswith("datasets: train"))
            channels = channels_of(dataset)
            if is_tower:
                _check_paired(section, spec, degradation)
                given = {"num_in_ch": spec.num_in_ch, "num_out_ch": spec.num_out_ch}
                has_gt = dataset["type"] == "PairedImageDataset"
                _check_channels(section, given, channels, channels if has_gt else spec.num_out_ch)
            else:
                _check_channels(section, network, channels, channels)
    return measured


def _check_channels(section: str, network: Mapping[str, Any], read: int, written: int) -> None:
    """Compare what a network reads and writes with the data set's images."""
    if network.get("type") in UNETS:
        network = {"num_in_ch": UNETS[network["type"]].keys()["num_in_ch"].default, **network}
        if written != WRITTEN:
            raise TimError(
                f"network_g: a {network['type']} writes {WRITTEN} channels, and the images of {section} have {written}"
            )
    for key, needed in (("num_in_ch", read), ("num_out_ch", written)):
        given = network.get(key)
        if isinstance(given, int) and given != needed:
            raise TimError(
                f"network_g: {key} {given} does not fit {section}, whose images have {needed} channels: use "
                f"{key}: {needed}"
            )


def _compare(section: str, dataset: Mapping[str, Any], spec: TowerSpec) -> None:
    from tim_plugin.degradations.table import network_options
    from tim_plugin.degradations.tasks import get_task

    task, kind = get_task(dataset.get("task")), spec.degradation["type"]
    if task.degradation != kind:
        raise TimError(
            f"{section}: task {dataset['task']} needs network_g: degradation: {task.degradation}, not {kind}"
            + ("" if spec.scale == task.scale else f", and placement: {'upsample' if task.scale > 1 else 'same'}")
        )
    if task.scale != spec.scale:
        raise TimError(
            f"{section}: task {dataset['task']} is {task.scale}x, and network_g: num_levels {spec.num_levels} gives "
            f"{spec.scale}x"
        )
    for option in network_options(kind):
        key, default = option.name, None if option.default is NEEDED else option.default
        ours, theirs = dataset.get(key, default), spec.degradation.get(key, default)
        if ours != theirs and not isinstance(theirs, Mapping):
            raise TimError(
                f"{section}: {key} is {ours!r}, but network_g: degradation: {key} is {theirs!r}: give both the same"
            )


def check_degraded(section: str, dataset: Mapping[str, Any], training: bool) -> tuple[Task, Degradation]:
    """Check a DegradedImageDataset's options against its task, for the file's check and for the dataset itself.

    Args:
        section: What the dataset is called in errors.
        dataset: Its options.
        training: Whether crops are trained on.

    Returns:
        The task and its degradation.

    Raises:
        TimError: For the first thing that is wrong.
    """
    from tim_plugin.degradations.tasks import get_task  # loads torch

    task = get_task(dataset.get("task"))
    degradation = task.build(dataset, section)
    resize = check_value(f"{section}: resize", DegradedDataset.keys()["resize"], dataset.get("resize")) or "none"
    size = dataset.get("gt_size")
    _check_crops(section, size, task.gt_multiple, training)
    if resize != "none" and size is None:
        raise TimError(f"{section}: resize: {resize} needs gt_size")
    if dataset.get("scale", task.scale) != task.scale:
        raise TimError(f"{section}: scale {dataset['scale']} does not fit the task's {task.scale}")
    flips = [key for key in ("use_hflip", "use_rot") if training and dataset.get(key)]
    if "use_rot" in flips and isinstance(size, (list, tuple)) and size[0] != size[1]:
        raise TimError(f"{section}: use_rot turns crops, which must be square for that: use use_rot: false")
    has_files = dataset.get("dataroot_lq") is not None
    if has_files and resize != "none" and not degradation.can_resize:
        raise TimError(f"{section}: resize: {resize}: LQ files cannot be resized: use resize: none")
    if has_files and flips and not degradation.can_flip:
        raise TimError(
            f"{section}: use_hflip and use_rot: LQ files of {task.title} cannot be mirrored: set both to false, or "
            "leave dataroot_lq out, so that the LQ is made after mirroring"
        )
    return task, degradation


def _check_crops(section: str, size: int | list[int] | None, multiple: int, training: bool) -> None:
    if training and size is None:
        raise TimError(f"{section}: gt_size is missing: the side of the crops, a multiple of {multiple}")
    for side in () if size is None else size if isinstance(size, (list, tuple)) else [size]:
        if side % multiple:
            lower = side // multiple * multiple
            raise TimError(
                f"{section}: gt_size {size} is not a multiple of {multiple}: use {lower + multiple}"
                + (f" or {lower}" if lower else "")
            )


def _check_files(section: str, dataset: Mapping[str, Any], task: Task, degradation: Degradation) -> None:
    if degradation.needs_files and dataset.get("dataroot_lq") is None:
        raise TimError(f"{section}: dataroot_lq is missing: inputs of {task.title} cannot be made from the GT")
    rarity = section_of(dataset, "rarity")
    if not (rarity.get("resample") or rarity.get("weight")):
        return
    if not rarity.get("file") or not Path(rarity["file"]).expanduser().is_file():
        raise TimError(
            f"{section}: rarity: file {rarity.get('file')}: there is no such file; python tools/prepare_data.py "
            "layouts writes it"
        )


def _check_paired(section: str, spec: TowerSpec, degradation: Degradation) -> None:
    kind = spec.degradation["type"]
    if kind not in RGB_INPUTS:
        raise TimError(
            f"{section}: PairedImageDataset reads RGB images, and degradation '{kind}' has other inputs: use "
            "DegradedImageDataset with dataroot_lq"
        )
    if spec.consistency == "project" and degradation.needs:
        raise TimError(
            f"{section}: PairedImageDataset reads images only, and network_g: consistency 'project' needs more of "
            f"degradation '{kind}': use DegradedImageDataset, or consistency: off"
        )
