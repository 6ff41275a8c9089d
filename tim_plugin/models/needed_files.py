"""The files that a run reads are looked for before any network is built and any folder is made."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from basicsr.utils.registry import METRIC_REGISTRY

from tim_plugin.losses.distance import require_distance
from tim_plugin.losses.perceptual_loss import PerceptualDistanceLoss
from tim_plugin.options.plain_checks import section_of
from tim_plugin.utils.errors import TimError


def require_files(opt: Mapping[str, Any]) -> None:
    """See that checkpoints, lists of images and the weights of distances are there; missing ones are downloaded.

    Args:
        opt: All options of a run.

    Raises:
        MissingWeightsError: Weights are not there and cannot be downloaded.
        TimError: A file is not there.
    """
    for phase, dataset in section_of(opt, "datasets").items():
        if dataset.get("meta_info_file") is not None:
            _require_file(f"datasets: {phase}: meta_info_file", dataset["meta_info_file"], "the list of its images")
    if not (opt.get("auto_resume") or section_of(opt, "path").get("resume_state")):  # else a state says which
        require_networks(opt)
    if opt.get("is_train"):
        losses = {PerceptualDistanceLoss.__name__: PerceptualDistanceLoss}
        _require_weights("perceptual_opt", section_of(opt, "train: perceptual_opt"), losses)
    for metric in section_of(opt, "val: metrics").values():
        _require_weights(metric.get("type"), metric, METRIC_REGISTRY)


def require_networks(opt: Mapping[str, Any]) -> None:
    """See that the networks that are loaded are there.

    Args:
        opt: All options of the run; of a resumed one with the paths that belong to its state.

    Raises:
        TimError: One is not there.
    """
    path = section_of(opt, "path")
    for key, file in path.items():
        if not key.startswith("pretrain_network") or file is None or Path(file).is_file():
            continue
        if not path.get("resume_state"):
            _require_file(f"path: {key}", file, "a .pth file, such as experiments/NAME/models/net_g_latest.pth")
        raise TimError(
            f"path: resume_state: {path['resume_state']}: its network {file} is not there: a state is resumed in the "
            f"run that wrote it, not in one of name {opt['name']}; a new run takes another's network by path: {key}"
        )


def _require_file(where: str, file: Any, wanted: str) -> None:
    if not Path(str(file)).is_file():
        raise TimError(f"{where}: there is no file {file}; give {wanted}")
    if not os.access(file, os.R_OK):
        raise TimError(f"{where}: {file} may not be read by this user")


def _require_weights(where: Any, section: Mapping[str, Any], known: Any) -> None:
    """See that a loss or metric that is built of a backbone and weights can be."""
    if section.get("type") not in known:  # what is not known is found by others
        return
    defaults = {name: one.default for name, one in inspect.signature(known.get(section["type"])).parameters.items()}
    if {"backbone", "weights"} <= defaults.keys():
        arguments = {name: section.get(name, defaults[name]) for name in ("backbone", "weights")}
        try:
            require_distance(**arguments)
        except TimError as error:
            raise type(error)(f"{where}: {error}") from error
