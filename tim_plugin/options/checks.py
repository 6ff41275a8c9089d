"""Checks of a whole option file, across its sections, before any data is loaded; no torch.

Sections that are ours (``imle``, ``network_g`` of a TowerGenerator, ``train: perceptual_opt`` and ``optim_g``, ``val``,
our datasets) are strict. In sections that BasicSR shares with other code a key is refused only when it is nearly one
that is known: then it is a typo, which BasicSR would ignore in silence.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from tim_plugin.options.dataset_checks import check_datasets
from tim_plugin.options.sections import (
    check_numbers,
    refuse_misspelling,
    refuse_near_misses,
    require,
    section_of,
)
from tim_plugin.options.specs import (
    DistanceSpec,
    ImleSpec,
    TowerSpec,
    ValSpec,
    build_spec,
    check_keys,
    field_names,
)
from tim_plugin.options.train import TrainSpec, check_steps
from tim_plugin.utils.errors import TimError, did_you_mean

TOP_KEYS = set(
    "name model_type scale num_gpu manual_seed datasets network_g imle path train val logger dist_params "
    "find_unused_parameters dist rank world_size auto_resume is_train root_path".split()
)
TRAIN_KEYS = set("ema_decay optim_g scheduler total_iter warmup_iter perceptual_opt pixel_opt".split()) | field_names(
    TrainSpec
)
VAL_KEYS = set("val_freq save_img suffix metrics pbar".split()) | field_names(ValSpec)
OPTIM_KEYS = set("type lr betas eps weight_decay amsgrad fused foreach momentum rho mapping_lr_mult".split())
PATH_KEYS = set(
    "pretrain_network_g param_key_g strict_load_g resume_state ignore_resume_networks experiments_root models "
    "training_states log visualization results_root".split()
)
LOGGER_KEYS = set("print_freq save_checkpoint_freq use_tb_logger wandb progress_bar".split())
# Where YAML's habit of reading 1e-4 as text hurts most: BasicSR would compare or multiply the text.
NUMBERS = {
    "": ("scale", "manual_seed"),
    "train": ("ema_decay", "total_iter", "warmup_iter"),
    "train: optim_g": ("lr", "eps", "weight_decay", "mapping_lr_mult"),
    "val": ("val_freq",),
    "logger": ("print_freq", "save_checkpoint_freq"),
}
DISTANCES = ("PerceptualDistanceLoss", "PixelDistanceLoss")
REQUIRED = {
    "": ("name", "model_type", "datasets", "network_g", "path"),
    "train": ("optim_g", "scheduler", "total_iter", "perceptual_opt"),
    "train: optim_g": ("type", "lr"),
    "logger": ("print_freq", "save_checkpoint_freq", "use_tb_logger"),
}


def check_options(opt: Mapping[str, Any]) -> None:
    """Check the options of a TIMModel, with or without what BasicSR's parser adds.

    Raises:
        TimError: For the first thing that is wrong: the section and key, what was given, and what would be right.
    """
    training = _check_shared(opt)
    imle = build_spec(ImleSpec, "imle", opt.get("imle"))
    spec = _check_network(opt)
    if training:
        _check_train(opt, imle, spec)
    _check_scale(opt, spec)
    check_datasets(section_of(opt, "datasets"), training, spec)
    if training:
        _check_pool(opt, imle)
        _check_divided(opt, imle)
    else:
        require("path", section_of(opt, "path"), ("pretrain_network_g",))  # an untrained network is never meant


def _check_shared(opt: Mapping[str, Any], optional: str | None = None) -> bool:
    """Check what TIMModel and BaselineModel have in common, and tell whether it is for training.

    ``optional`` is a key of :data:`REQUIRED` that the model can do without.
    """
    training = opt.get("is_train", "train" in opt)
    for section, keys in REQUIRED.items():
        if training or section == "":
            require(section, section_of(opt, section), tuple(key for key in keys if key != optional))
    for section, keys in NUMBERS.items():
        check_numbers(section, section_of(opt, section), keys)
    for section, known in (("", TOP_KEYS), ("path", PATH_KEYS), ("logger", LOGGER_KEYS)):
        refuse_near_misses(section, section_of(opt, section), known)
    check_keys("val", section_of(opt, "val"), VAL_KEYS)
    if opt.get("val") or not training:
        require("val", section_of(opt, "val"), ("save_img", "val_freq") if training else ("save_img",))
    ValSpec.from_options(opt.get("val"))
    if training:
        check_keys("train", section_of(opt, "train"), TRAIN_KEYS)
        check_keys("train: optim_g", section_of(opt, "train: optim_g"), OPTIM_KEYS)
        check_steps(section_of(opt, "train"), section_of(opt, "datasets: train").get("batch_size_per_gpu", 1))
    return training


def _check_network(opt: Mapping[str, Any]) -> TowerSpec | None:
    network = section_of(opt, "network_g")
    require("network_g", network, ("type",))
    refuse_misspelling("network_g: type", network["type"], ("TowerGenerator",))
    if network.get("type") != "TowerGenerator":  # another tower-like network checks its own arguments
        return None
    return build_spec(TowerSpec, "network_g", network, ignore=("type",))


def _check_train(opt: Mapping[str, Any], imle: ImleSpec, spec: TowerSpec | None) -> None:
    train = section_of(opt, "train")
    if train.get("pixel_opt"):
        raise TimError(
            "train: pixel_opt is not used by TIMModel, which trains on the distance that it searches with: "
            "remove it, or set perceptual_opt: {type: PixelDistanceLoss}"
        )
    distance = section_of(opt, "train: perceptual_opt")
    require("train: perceptual_opt", distance, ("type",))
    refuse_misspelling("train: perceptual_opt: type", distance["type"], DISTANCES)
    if distance["type"] == "PerceptualLoss":
        raise TimError(
            "train: perceptual_opt: type PerceptualLoss is BasicSR's loss, with which no candidate can be found: use "
            "PerceptualDistanceLoss (LPIPS)"
        )
    if distance["type"] == "PerceptualDistanceLoss":
        build_spec(DistanceSpec, "train: perceptual_opt", distance)
    elif distance["type"] == "PixelDistanceLoss":
        check_keys("train: perceptual_opt", distance, {"type", "loss_weight"})
    if spec is not None:
        imle.samples(spec.num_levels)
        imle.radii(spec.num_levels)
    if imle.screen < 1 and distance["type"] == "PixelDistanceLoss":
        raise TimError(
            "imle: screen ranks by the first feature maps, which PixelDistanceLoss has not: use train: perceptual_opt: "
            "type: PerceptualDistanceLoss, or leave screen out"
        )
    if imle.search_memory_gib is None and imle.search_batch > imle.max_candidates_per_batch:
        raise TimError(
            f"imle: search_batch {imle.search_batch} is more than max_candidates_per_batch "
            f"{imle.max_candidates_per_batch}: each example needs room for one candidate"
        )


def _check_scale(opt: Mapping[str, Any], spec: TowerSpec | None) -> None:
    if spec is None or opt.get("scale") in (None, spec.scale):
        return
    if spec.placement == "same":
        raise TimError(f"scale {opt['scale']}: a tower with placement 'same' keeps the size: use scale: 1")
    raise TimError(
        f"scale {opt['scale']} is not what the tower makes: network_g: num_levels {spec.num_levels} doubles "
        f"the size {spec.num_levels} times, to {spec.scale}x: use scale: {spec.scale}, or other levels"
    )


def _check_pool(opt: Mapping[str, Any], imle: ImleSpec) -> None:
    batch = opt["datasets"].get("train", {}).get("batch_size_per_gpu", 1)
    if imle.reuse > 1 and imle.pool_size % batch:
        near = [value for value in (imle.pool_size // batch * batch, -(-imle.pool_size // batch) * batch) if value]
        raise TimError(
            f"imle: pool_size {imle.pool_size} is not a multiple of batch_size_per_gpu {batch}: use "
            + " or ".join(str(value) for value in sorted(set(near)))
        )


def _check_divided(opt: Mapping[str, Any], imle: ImleSpec) -> None:
    if not TrainSpec.from_options(opt.get("train")).fsdp:
        return
    if imle.search_ahead:
        raise TimError(
            "imle: search_ahead gives another process a copy of the whole network, which train: fsdp divides because "
            "it is too large: use one of them"
        )
    if imle.search_memory_gib is not None:
        raise TimError(
            "imle: search_memory_gib measures how many candidates fit, which may differ by process, and with train: "
            "fsdp all must run as many: use max_candidates_per_batch"
        )


def check_baseline_options(opt: Mapping[str, Any]) -> None:
    """Check the options of a BaselineModel, as :func:`check_options` does those of a TIMModel.

    Raises:
        TimError: For the first thing that is wrong.
    """
    training = _check_shared(opt, optional="perceptual_opt")
    require("network_g", section_of(opt, "network_g"), ("type",))
    check_datasets(section_of(opt, "datasets"), training, None)


def check_by_model(opt: Mapping[str, Any]) -> None:
    """Check the options of our models; other models of BasicSR are none of our business.

    Raises:
        TimError: ``model_type`` is missing or a misspelling of one of ours, or an option is wrong.
    """
    kind = opt.get("model_type")
    if kind is None:
        raise TimError("model_type is missing: use model_type: TIMModel")
    if kind not in CHECKS and difflib.get_close_matches(str(kind), CHECKS, cutoff=0.8):
        raise TimError(f"model_type {kind!r} is not known: {did_you_mean(str(kind), CHECKS)}")
    if kind in CHECKS:
        CHECKS[kind](opt)


CHECKS = {"TIMModel": check_options, "BaselineModel": check_baseline_options}
