"""The check of a whole option file, in one pass and before any data is loaded; no torch until a degradation is built.

Our sections (``imle``, ``network_g`` of a TowerGenerator, ``train`` with ``optim_g`` and ``perceptual_opt``, ``val``,
our datasets) are strict. In sections that BasicSR shares with other code a key is refused only when it is nearly one
that is known: then it is a typo, which BasicSR would ignore in silence.
"""

from __future__ import annotations

import difflib
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from tim_plugin.options.data_checks import check_datasets, check_degradations
from tim_plugin.options.schema import ImleSpec, TrainSpec
from tim_plugin.options.sections import OptionFile, ValSection
from tim_plugin.options.tower_spec import TowerSpec
from tim_plugin.options.values import build_spec, check_section, refuse_misspelling, require, section_of
from tim_plugin.utils.errors import TimError, did_you_mean

DISTANCES = ("PerceptualDistanceLoss", "PixelDistanceLoss")
FUSED_OPTIMIZERS = ("Adam", "AdamW", "SGD")


class CheckedOptions(OrderedDict):
    """Options that :func:`check_options` has passed, so that models need not check them again."""


def check_options(opt: Mapping[str, Any], model: str | None = None) -> None:
    """Check the options of our models, with or without what BasicSR's parser adds.

    Of BasicSR's other models only what concerns degradations is checked. :class:`CheckedOptions` are not checked again.

    Args:
        opt: A whole option file.
        model: ``TIMModel`` or ``BaselineModel``, whose options they are to be; by default ``model_type`` says it.

    Raises:
        TimError: For the first thing that is wrong: the section and key, what was given, and what would be right.
    """
    if isinstance(opt, CheckedOptions):
        return
    model = model or _model_of(opt)
    if model in RULES:
        training = opt.get("is_train", "train" in opt)
        _check_sections(opt, training)
        RULES[model](opt, training)
    check_degradations(opt)


def _model_of(opt: Mapping[str, Any]) -> str:
    kind = opt.get("model_type")
    if kind is None:
        raise TimError("model_type is missing: use model_type: TIMModel")
    if kind not in RULES and difflib.get_close_matches(str(kind), RULES, cutoff=0.8):
        raise TimError(f"model_type {kind!r} is not known: {did_you_mean(str(kind), RULES)}")
    return kind


def _check_sections(opt: Mapping[str, Any], training: bool) -> None:
    asked = opt if training else {key: value for key, value in opt.items() if key != "train"}
    check_section("", OptionFile, asked, training)
    if opt.get("val") or not training:
        check_section("val", ValSection, opt.get("val"), training)
    if training:
        check_steps(section_of(opt, "train"), section_of(opt, "datasets: train").get("batch_size_per_gpu", 1))


def _check_tim(opt: Mapping[str, Any], training: bool) -> None:
    imle, spec = build_spec(ImleSpec, opt.get("imle")), tower_spec(opt)
    if training:
        _check_distance(opt)
        _check_search(imle, spec)
    _check_scale(opt, spec)
    check_datasets(section_of(opt, "datasets"), training, spec)
    if training:
        _check_pool(opt, imle)
        _check_sharded(opt, imle)
    else:
        require("path", section_of(opt, "path"), ("pretrain_network_g",))  # an untrained network is never meant


def _check_baseline(opt: Mapping[str, Any], training: bool) -> None:
    check_datasets(section_of(opt, "datasets"), training, None)


RULES = {"TIMModel": _check_tim, "BaselineModel": _check_baseline}


def tower_spec(opt: Mapping[str, Any]) -> TowerSpec | None:
    """Return the tower's arguments; None for another network, which checks its own."""
    network = section_of(opt, "network_g")
    if network.get("type") != "TowerGenerator":
        return None
    return build_spec(TowerSpec, {key: value for key, value in network.items() if key != "type"})


def check_steps(train: Mapping[str, Any], batch_size: Any) -> None:
    """Check how a step is computed against the optimizer and the batch.

    Args:
        train: The section.
        batch_size: ``batch_size_per_gpu``.

    Raises:
        TimError: For the first thing that is wrong.
    """
    spec, optimizer = TrainSpec.from_options(train), train.get("optim_g") or {}
    if isinstance(batch_size, int) and spec.accumulate > max(batch_size, 1):  # the data set's own check names the rest
        raise TimError(
            f"train: accumulate {spec.accumulate} splits a batch of batch_size_per_gpu {batch_size}: "
            f"use accumulate: {batch_size} at most, or a larger batch"
        )
    if optimizer.get("fused"):
        if optimizer.get("type") not in FUSED_OPTIMIZERS:
            raise TimError(
                f"train: optim_g: fused: {optimizer.get('type')} has no fused form, {', '.join(FUSED_OPTIMIZERS)} have"
            )
        if optimizer.get("foreach"):
            raise TimError("train: optim_g: fused and foreach are two ways to do one thing: use one of them")


def _check_distance(opt: Mapping[str, Any]) -> None:
    train = section_of(opt, "train")
    if train.get("pixel_opt"):
        raise TimError(
            "train: pixel_opt is not used by TIMModel, which trains on the distance that it searches with: "
            "remove it, or set perceptual_opt: {type: PixelDistanceLoss}"
        )
    require("train", train, ("perceptual_opt",))
    if train["perceptual_opt"]["type"] == "PerceptualLoss":
        raise TimError(
            "train: perceptual_opt: type PerceptualLoss is BasicSR's loss, with which no candidate can be found: use "
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


def _check_pool(opt: Mapping[str, Any], imle: ImleSpec) -> None:
    batch = opt["datasets"].get("train", {}).get("batch_size_per_gpu", 1)
    if imle.reuse > 1 and imle.pool_size % batch:
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
