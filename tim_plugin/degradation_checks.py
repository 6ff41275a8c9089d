"""Checks that a network and its datasets mean the same degradation."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from tim_plugin.degradations.table import BUILDERS
from tim_plugin.errors import TimError
from tim_plugin.option_sections import section_of
from tim_plugin.options import DEGRADATION_KEYS, TowerSpec, build_spec
from tim_plugin.tasks import get_task

RGB_INPUTS = ("bicubic", "unknown", "jpeg")  # what PairedImageDataset can read


def check_degradations(opt: Mapping[str, Any]) -> None:
    """Compare each dataset's task with ``network_g: degradation``.

    Raises:
        TimError: They are not of one kind, or an option that both have (a palette, a basis) differs.
    """
    network = section_of(opt, "network_g")
    if network.get("type") != "TowerGenerator":
        return
    spec = build_spec(TowerSpec, "network_g", network, ignore=("type",))
    for phase, dataset in section_of(opt, "datasets").items():
        if dataset.get("type") == "DegradedImageDataset":
            _check_dataset(f"datasets: {phase}", dataset, spec)
        elif dataset.get("type") == "PairedImageDataset" and spec.degradation["type"] not in RGB_INPUTS:
            raise TimError(
                f"datasets: {phase}: PairedImageDataset reads RGB images, and degradation "
                f"'{spec.degradation['type']}' has other inputs: use DegradedImageDataset with dataroot_lq"
            )


def _check_dataset(section: str, dataset: Mapping[str, Any], spec: TowerSpec) -> None:
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
        default = inspect.signature(BUILDERS[kind]).parameters[key].default
        ours, theirs = dataset.get(key, default), spec.degradation.get(key, default)
        if ours != theirs and not isinstance(theirs, Mapping):
            raise TimError(
                f"{section}: {key} is {ours!r}, but network_g: degradation: {key} is {theirs!r}: give both the same"
            )
