"""Checks that a network and its datasets mean the same degradation, and that it can be built, before anything runs."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tim_plugin.degradations.base import Degradation
from tim_plugin.degradations.table import BUILDERS, build_for_tower
from tim_plugin.degradations.tasks import get_task
from tim_plugin.options.sections import section_of
from tim_plugin.options.specs import DEGRADATION_KEYS, TowerSpec, build_spec
from tim_plugin.utils.errors import TimError

RGB_INPUTS = ("bicubic", "unknown", "jpeg")  # what PairedImageDataset can read


def check_degradations(opt: Mapping[str, Any]) -> None:
    """Compare the degradations of the network and of the datasets, and build each once.

    Raises:
        TimError: They are not of one kind, an option that both have (a palette, a basis) differs, or an option of one
            is missing or wrong.
    """
    network = section_of(opt, "network_g")
    datasets = [(f"datasets: {phase}", dataset) for phase, dataset in section_of(opt, "datasets").items()]
    is_tower = network.get("type") == "TowerGenerator"  # another network checks what it is given by itself
    if is_tower:
        spec = build_spec(TowerSpec, "network_g", network, ignore=("type",))
        for section, dataset in datasets:
            if dataset.get("type") == "DegradedImageDataset":
                _compare(section, dataset, spec)
        degradation = build_for_tower(spec.degradation, spec.scale, spec.num_in_ch, spec.num_out_ch)
    for section, dataset in datasets:
        if dataset.get("type") == "DegradedImageDataset":
            _check_files(section, dataset)
        elif is_tower and dataset.get("type") == "PairedImageDataset":
            _check_paired(section, spec, degradation)


def _compare(section: str, dataset: Mapping[str, Any], spec: TowerSpec) -> None:
    task, kind = get_task(dataset["task"]), spec.degradation["type"]
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
    for key in sorted(DEGRADATION_KEYS[kind]):
        parameter = inspect.signature(BUILDERS[kind]).parameters[key]
        default = None if parameter.default is parameter.empty else parameter.default
        ours, theirs = dataset.get(key, default), spec.degradation.get(key, default)
        if ours != theirs and not isinstance(theirs, Mapping):
            raise TimError(
                f"{section}: {key} is {ours!r}, but network_g: degradation: {key} is {theirs!r}: give both the same"
            )


def _check_files(section: str, dataset: Mapping[str, Any]) -> None:
    task = get_task(dataset["task"])
    if task.build(dataset, section).needs_files and dataset.get("dataroot_lq") is None:
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
