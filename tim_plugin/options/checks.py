"""The check of a whole option file, in one pass and before any data is loaded; no torch until a degradation is built.

An option file of one of our models or of SRModel is strict: a key that nobody reads is an error, in BasicSR's
sections too, which BasicSR would ignore in silence. A model that is a subclass of ours has keys of its own: there a key
is refused only where it is nearly one that is known, in the sections that all share. Of other models, and of datasets,
networks and losses that are neither ours nor BasicSR's, only what BasicSR's loop reads is checked.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from tim_plugin.options.data_checks import check_datasets, check_degradations
from tim_plugin.options.metric_checks import check_metrics, refuse_taken_names
from tim_plugin.options.plain_checks import (
    join,
    refuse_empty,
    refuse_misspelling,
    require,
    require_text,
    section_of,
)
from tim_plugin.options.schema import ImleSpec, TrainSpec, ValSpec
from tim_plugin.options.sections import LoggerSection, OptionFile
from tim_plugin.options.tower_spec import TowerSpec
from tim_plugin.options.train_checks import check_optimizer, check_schedule, check_steps
from tim_plugin.options.train_sections import TrainSection
from tim_plugin.options.unet_spec import UNETS
from tim_plugin.options.val_sections import ValSection
from tim_plugin.options.values import build_spec, check_section, check_value
from tim_plugin.utils.errors import TimError

PARAM_KEYS = ("params", "params_ema")
PATHS = ("pretrain_network_g", "resume_state", "experiments_root", "results_root")
DISTANCES = ("PerceptualDistanceLoss", "PixelDistanceLoss")
# What BasicSR's loop reads, whatever the model.
LOOP = {
    "": (OptionFile, ("name", "manual_seed")),
    "train": (TrainSection, ("total_iter", "warmup_iter")),
    "val": (ValSection, ("val_freq", "save_img")),
    "logger": (LoggerSection, ("print_freq", "save_checkpoint_freq", "use_tb_logger", "wandb")),
}


class CheckedOptions(OrderedDict):
    """Options that :func:`check_options` has passed, so that models need not check them again."""


def check_options(opt: Mapping[str, Any], model: str | None = None) -> None:
    """Check a whole option file, with or without what BasicSR's parser adds.

    :class:`CheckedOptions` are not checked again.

    Args:
        opt: A whole option file.
        model: A key of :data:`RULES`, whose options they are to be; by default ``model_type`` says it.

    Raises:
        TimError: For the first thing that is wrong: the section and key, what was given, and what would be right.
    """
    if isinstance(opt, CheckedOptions):
        return
    kind = _model_of(opt)
    model = model or kind
    training = opt.get("is_train", "train" in opt)
    if model in RULES:
        _check_sections(opt, training, is_shared=model != kind)
        if training:
            _check_training(opt, model)
        RULES[model](opt, training)
    else:
        _check_loop(opt)
    measured = check_degradations(opt)
    if model in RULES and model != "SRModel":
        refuse_taken_names(opt, measured)


def _model_of(opt: Mapping[str, Any]) -> str:
    kind = opt.get("model_type")
    if kind is None:
        raise TimError("model_type is missing: use model_type: TIMModel")
    require_text("model_type", kind)
    refuse_misspelling("model_type", kind, RULES)
    return kind


def _check_loop(opt: Mapping[str, Any]) -> None:
    for place, (section, names) in LOOP.items():
        options = section_of(opt, place) if place else opt
        for name in names:
            if options.get(name) is not None:
                check_value(join(place, name), section.keys()[name], options[name], is_shared=True)


def _check_sections(opt: Mapping[str, Any], training: bool, is_shared: bool) -> None:
    asked = opt if training else {key: value for key, value in opt.items() if key != "train"}
    check_section("", OptionFile, asked, training, is_shared=is_shared)
    for name in PATHS:
        refuse_empty(f"path: {name}", section_of(opt, "path").get(name), "the path, or leave it out")
    if opt.get("val") or not training:
        check_section("val", ValSection, opt.get("val"), training, is_shared=is_shared)
    check_metrics(opt)
    key = section_of(opt, "path").get("param_key_g")
    if key is not None:
        refuse_misspelling("path: param_key_g", key, PARAM_KEYS)


def _check_training(opt: Mapping[str, Any], model: str) -> None:
    train, logger = section_of(opt, "train"), section_of(opt, "logger")
    check_steps(train, section_of(opt, "datasets: train").get("batch_size_per_gpu", 1))
    check_optimizer(train, model)
    check_schedule(train)
    if section_of(logger, "wandb").get("project") and not logger.get("use_tb_logger"):
        raise TimError("logger: wandb takes what TensorBoard gets: use use_tb_logger: true, or leave project empty (~)")


def _check_tim(opt: Mapping[str, Any], training: bool) -> None:
    imle, spec = build_spec(ImleSpec, opt.get("imle")), tower_spec(opt)
    if training:
        _check_distance(opt, "TIMModel")
        _check_search(imle, spec)
    _check_tower(opt, spec, training)
    if training:
        _check_pool(opt, imle)
        _check_sharded(opt, imle)


def _check_energy_score(opt: Mapping[str, Any], training: bool) -> None:
    _refuse_search(opt, training)
    if training:
        _check_distance(opt, "EnergyScoreModel")
    _check_tower(opt, tower_spec(opt), training)


def _check_tower(opt: Mapping[str, Any], spec: TowerSpec | None, training: bool) -> None:
    _check_scale(opt, spec)
    check_datasets(section_of(opt, "datasets"), training, spec)
    if not training:
        require("path", section_of(opt, "path"), ("pretrain_network_g",))  # an untrained network is never meant


def _check_baseline(opt: Mapping[str, Any], training: bool) -> None:
    _check_unet_scale(opt)
    check_datasets(section_of(opt, "datasets"), training, None)
    _refuse_search(opt, training)


def _check_basicsrs_own(opt: Mapping[str, Any], training: bool) -> None:
    """BasicSR's model reads BasicSR's keys alone."""
    for section, spec in (("train", TrainSpec), ("val", ValSpec)):
        for key in section_of(opt, section):
            if key in spec.keys():
                raise TimError(
                    f"{section}: {key} is not used by BasicSR's SRModel: leave it out, or use model_type: BaselineModel"
                )
    _check_baseline(opt, training)


def _refuse_search(opt: Mapping[str, Any], training: bool) -> None:
    if training and opt.get("imle") is not None:
        raise TimError("imle: only TIMModel searches: leave the section out, or use model_type: TIMModel")


RULES = {
    "TIMModel": _check_tim,
    "BaselineModel": _check_baseline,
    "EnergyScoreModel": _check_energy_score,
    "SRModel": _check_basicsrs_own,
}


def tower_spec(opt: Mapping[str, Any]) -> TowerSpec | None:
    """Return the tower's arguments; None for another network, which checks its own."""
    network = section_of(opt, "network_g")
    if network.get("type") != "TowerGenerator":
        return None
    return build_spec(TowerSpec, {key: value for key, value in network.items() if key != "type"})


def _check_distance(opt: Mapping[str, Any], model: str) -> None:
    train = section_of(opt, "train")
    if train.get("pixel_opt"):
        trains_on = "the distance that it searches with" if model == "TIMModel" else "perceptual_opt's distance"
        raise TimError(
            f"train: pixel_opt is not used by {model}, which trains on {trains_on}: "
            "remove it, or set perceptual_opt: {type: PixelDistanceLoss}"
        )
    require("train", train, ("perceptual_opt",))
    if train["perceptual_opt"]["type"] == "PerceptualLoss":
        raise TimError(
            "train: perceptual_opt: type PerceptualLoss is BasicSR's loss, which is no distance of single images: use "
            "PerceptualDistanceLoss (LPIPS)"
        )
    refuse_misspelling("train: perceptual_opt: type", train["perceptual_opt"]["type"], DISTANCES)


def _check_search(imle: ImleSpec, spec: TowerSpec | None) -> None:
    if spec is not None:
        imle.samples(spec.num_levels)
        imle.radii(spec.num_levels)
    if imle.search_memory_gib is None and imle.search_batch > imle.max_candidates_per_batch:
        raise TimError(
            f"imle: search_batch {imle.search_batch} is more than max_candidates_per_batch "
            f"{imle.max_candidates_per_batch}: each example needs room for one candidate"
        )


def _check_scale(opt: Mapping[str, Any], spec: TowerSpec | None) -> None:
    if spec is None or opt.get("scale") in (None, spec.scale):
        return
    if spec.keeps_size:
        why = "placement 'same'" if spec.placement == "same" else f"degradation '{spec.degradation['type']}'"
        raise TimError(f"scale {opt['scale']}: a tower with {why} keeps the size: use scale: 1")
    raise TimError(
        f"scale {opt['scale']} is not what the tower makes: network_g: num_levels {spec.num_levels} doubles "
        f"the size {spec.num_levels} times, to {spec.scale}x: use scale: {spec.scale}, or other levels"
    )


def _check_unet_scale(opt: Mapping[str, Any]) -> None:
    network = section_of(opt, "network_g")
    scale = network.get("scale", 1)
    if network.get("type") in UNETS and opt.get("scale") not in (None, scale):
        raise TimError(f"scale {opt['scale']} is not what the network makes: network_g: scale {scale}: use one number")


def _check_pool(opt: Mapping[str, Any], imle: ImleSpec) -> None:
    batch = opt["datasets"].get("train", {}).get("batch_size_per_gpu", 1)
    if imle.pool_size < batch or imle.reuse > 1 and imle.pool_size % batch:
        near = [value for value in (imle.pool_size // batch * batch, -(-imle.pool_size // batch) * batch) if value]
        raise TimError(
            f"imle: pool_size {imle.pool_size} is not a multiple of batch_size_per_gpu {batch}: use "
            + " or ".join(str(value) for value in sorted(set(near)))
        )


def _check_sharded(opt: Mapping[str, Any], imle: ImleSpec) -> None:
    if not TrainSpec.from_options(opt.get("train")).fsdp:
        return
    if imle.search_ahead:
        raise TimError(
            "imle: search_ahead gives another process a copy of the whole network, which train: fsdp shards because "
            "it is too large: use one of them"
        )
    if imle.search_memory_gib is not None:
        raise TimError(
            "imle: search_memory_gib measures how many candidates fit, which may differ by process, and with train: "
            "fsdp all must run as many: use max_candidates_per_batch"
        )
