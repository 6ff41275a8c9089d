"""Weights in the files of the method's authors (CAM-Net, HyperRIM, CHIMLE): recognised, measured, renamed to ours.

Their files are flat state dicts; ``level_1_feat.0.weight_v`` is the first convolution of the first level. What the keys
and shapes do not say, the task, is guessed as :func:`task_of` says, or given.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tim_plugin.utils.errors import TimError, did_you_mean
from tim_plugin.utils.tensor_files import differences, first_of, shapes_of

_FIRST = "level_1_feat.0.weight_v"  # every file has it, maybe behind a prefix
_CONVOLUTION = ("weight_g", "weight_v", "bias")
_UNTRAINED = 1e-5  # relative difference of weight_g and the norm of weight_v: equal until a step has changed them
_NAMES = (  # theirs -> ours, within a level
    (r"feat\.0", "conv_first"),
    (r"style\.sub\.lr_conv\.0", "conv_body"),
    (r"style\.sub\.(\d+)\.RDB(\d+)\.conv(\d+)\.0", r"blocks.\1.rdb\2.conv\3"),
    (r"up\.[01]", "conv_up"),
    (r"up\.[23]", "conv_hr"),
    (r"out\.0", "conv_last"),
    (r"map_0\.0", "mapping.hidden.0"),
    (r"map\.(\d+)", r"mapping.hidden.\1"),
)
_PARTS = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
_SAME = {"placement": "same", "image_below": "none"}
_NETWORKS: dict[str, dict[str, Any]] = {  # what differs from TowerGenerator's defaults, beside sizes
    "super_resolution": {"image_below": "signed", "degradation": "bicubic"},
    "colorization": {**_SAME, "num_in_ch": 1, "head": "ab_over_lightness", "degradation": "lightness"},
    "decompression": {**_SAME, "degradation": "jpeg"},
    "generic": {**_SAME, "degradation": "unknown"},
    "layouts": {
        "num_in_ch": 20,
        "image_below": "none",
        "condition_every_level": True,
        "feature_scale": 1.0,
        "degradation": {"type": "labels", "palette": "gta", "void": "channel", "cells": "nearest"},
    },
}
TASKS = tuple(_NETWORKS)


class Sizes(NamedTuple):
    """What the shapes of an authors' file say.

    Attributes:
        trunk: Channels of each level's trunk.
        growth: Growth channels of each level.
        blocks: RRDBs of a level.
        style: Length of a style vector.
        width: Of the mapping networks.
        layers: Hidden layers of a mapping network.
        inputs: Channels of input and noise together.
        outputs: Channels of what a head writes.
        sees_below: Whether mapping networks read those of the levels below (CHIMLE).
        enlarges: Whether the last level's convolutions behind the trunk stand behind an enlargement.
    """

    trunk: tuple[int, ...]
    growth: tuple[int, ...]
    blocks: int
    style: int
    width: int
    layers: int
    inputs: int
    outputs: int
    sees_below: bool
    enlarges: bool


def without_prefix(state: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """Return an authors' state dict without what stands before each key, such as ``module.``; None if it is not one."""
    firsts = [key for key in state if key == _FIRST or key.endswith(f".{_FIRST}")]
    if not firsts:
        return None
    prefix = firsts[0].removesuffix(_FIRST)
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def network_g_of(state: Mapping[str, Tensor], path: Path | str, task: str | None = None) -> dict[str, Any]:
    """Return the ``network_g`` section of an authors' network.

    Args:
        state: As :func:`without_prefix` gives it.
        path: For errors.
        task: One of :data:`TASKS`; None takes what :func:`task_of` says.

    Raises:
        TimError: A key is missing, unknown, or of another shape than the others say; or the task is not the file's.
    """
    sizes = _sizes(state, path)
    _require_complete(state, sizes, path)
    task = task_of(state, sizes) if task is None else _fitting(task, sizes, path)
    section = {"num_in_ch": 3, **_NETWORKS[task]}
    if section.get("placement") == "same":
        section["head_at"] = "trunk" if sizes.enlarges else "trunk_below_last"
    return {
        "type": "TowerGenerator",
        "num_levels": len(sizes.trunk),
        "trunk_channels": list(sizes.trunk),
        "growth_channels": list(sizes.growth),
        "num_blocks": sizes.blocks,
        "noise_channels": sizes.inputs - section["num_in_ch"],
        "style_dim": sizes.style,
        "mapping_width": sizes.width,
        "mapping_layers": sizes.layers,
        "mapping_sees_below": sizes.sees_below,
        **section,
    }


def task_of(state: Mapping[str, Tensor], sizes: Sizes) -> str:
    """Return what an authors' network is for, one of :data:`TASKS`.

    Colourisation writes two channels, and label maps have more than seventeen. Super-resolution, decompression and
    CHIMLE's generic network have the same keys and shapes. In the last two nothing reads the last level's convolutions
    behind the trunk, so that training leaves their weight norm as it was initialised: ``weight_g`` is the norm of
    ``weight_v``.
    """
    first = _tasks_of(sizes)[0]
    if first != "super_resolution":
        return first
    direction = state[f"level_{len(sizes.trunk)}_up.1.weight_v"].double().flatten(1).norm(dim=1)
    length = state[f"level_{len(sizes.trunk)}_up.1.weight_g"].double().flatten()
    if ((length - direction).abs() > _UNTRAINED * direction).any():
        return first
    return "generic" if sizes.sees_below else "decompression"


def renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return an authors' weights by a TowerGenerator's keys; what has no counterpart keeps its name."""
    is_deeper = any("_map_0." in key for key in state)  # CHIMLE counts from the mapping network's second layer
    found, heads = {}, defaultdict(dict)
    for key, value in state.items():
        head = re.fullmatch(r"level_(\d+)_style\.sub\.transform_(\d+)\.(weight|bias)", key)
        if head:
            heads[f"levels.{int(head[1]) - 1}.mapping.head.{head[3]}"][int(head[2])] = value
        else:
            found[_our_key(key, is_deeper)] = value
    return found | {key: torch.cat([rows[block] for block in sorted(rows)]) for key, rows in heads.items()}


def _our_key(key: str, is_deeper: bool) -> str:
    level = re.fullmatch(r"level_(\d+)_(.+)\.(weight_g|weight_v|weight|bias)", key)
    for pattern, name in _NAMES if level else ():
        inner = re.fullmatch(pattern, level[2])
        if inner:
            ours = inner.expand(name)
            if is_deeper and level[2].startswith("map."):
                ours = f"mapping.hidden.{int(inner[1]) + 2}"
            return f"levels.{int(level[1]) - 1}.{ours}.{_PARTS.get(level[3], level[3])}"
    return key


def _sizes(state: Mapping[str, Tensor], path: Path | str) -> Sizes:
    """Read the sizes off the shapes: what most of the tensors that depend on a size say."""

    def most(pattern: str, axis: int = 0) -> int:
        found = [value.shape[axis] for key, value in state.items() if re.fullmatch(pattern, key) and value.dim() > axis]
        if not found:
            raise TimError(f"{path}: looks like a file of the method's authors, but no key is like {pattern}")
        return Counter(found).most_common(1)[0][0]

    def highest(pattern: str) -> int:
        return max((int(found[1]) for key in state if (found := re.match(pattern, key))), default=0)

    levels = range(1, highest(r"level_(\d+)_feat\.") + 1)
    sees_below = any("_map_0." in key for key in state)
    trunk = tuple(most(rf"level_{k}_(feat\.0|style\.sub\.lr_conv\.0|up\.\d)\.(bias|weight_g)") for k in levels)
    below = (0, *trunk)
    inputs = Counter(
        state[key].shape[1] - below[k - 1]
        for k in levels
        if (key := f"level_{k}_feat.0.weight_v") in state and state[key].dim() > 1
    )
    return Sizes(
        trunk=trunk,
        growth=tuple(most(rf"level_{k}_style\.sub\.\d+\.RDB\d\.conv[1-4]\.0\.bias") for k in levels),
        blocks=highest(r"level_\d+_style\.sub\.(\d+)\.") + 1,
        style=most(r"level_\d+_map_0\.0\.weight" if sees_below else r"level_\d+_map\.0\.weight", 1),
        width=most(r"level_\d+_map(_0)?\.\d+\.bias"),
        layers=highest(r"level_\d+_map\.(\d+)\.") // 2 + 1 + sees_below,
        inputs=inputs.most_common(1)[0][0],
        outputs=most(r"level_\d+_out\.0\.bias"),
        sees_below=sees_below,
        enlarges=not any(key.startswith(f"level_{len(levels)}_up.0.") for key in state),
    )


def expected_shapes(sizes: Sizes) -> dict[str, tuple[int, ...]]:
    """Return the shape of each key that a file of these sizes has."""
    shapes: dict[str, tuple[int, ...]] = {}

    def convolution(name: str, read: int, written: int) -> None:
        sides = ((written, 1, 1, 1), (written, read, 3, 3), (written,))
        shapes.update({f"{name}.{part}": shape for part, shape in zip(_CONVOLUTION, sides, strict=True)})

    def dense(name: str, read: int, written: int) -> None:
        shapes.update({f"{name}.weight": (written, read), f"{name}.bias": (written,)})

    for k, (trunk, growth) in enumerate(zip(sizes.trunk, sizes.growth, strict=True)):
        level, below = f"level_{k + 1}", sizes.trunk[k - 1] if k else 0
        convolution(f"{level}_feat.0", sizes.inputs + below, trunk)
        for block in range(sizes.blocks):
            for dense_block in (1, 2, 3):
                for c in range(1, 6):
                    name = f"{level}_style.sub.{block}.RDB{dense_block}.conv{c}.0"
                    convolution(name, trunk + (c - 1) * growth, trunk if c == 5 else growth)
            dense(f"{level}_style.sub.transform_{block}", sizes.width, 2 * trunk)
        convolution(f"{level}_style.sub.lr_conv.0", trunk, trunk)
        for layer in range(sizes.layers):
            read = sizes.width if layer else sizes.style
            read *= 1 + k if sizes.sees_below and layer == 1 else 1
            in_front = sizes.sees_below and layer == 0
            name = "map_0.0" if in_front else f"map.{2 * (layer - sizes.sees_below)}"
            dense(f"{level}_{name}", read, sizes.width)
        is_last = k == len(sizes.trunk) - 1
        for index in (1, 3) if sizes.enlarges or not is_last else (0, 2):
            convolution(f"{level}_up.{index}", trunk, trunk)
        convolution(f"{level}_out.0", trunk, sizes.outputs)
    return shapes


def _require_complete(state: Mapping[str, Tensor], sizes: Sizes, path: Path | str) -> None:
    found = differences(expected_shapes(sizes), shapes_of(state))
    if found:
        raise TimError(f"{path} is like a file of the method's authors, but differs: {first_of(found)}")


def _fitting(task: str, sizes: Sizes, path: Path | str) -> str:
    """Return a task that the file's keys and shapes allow; ``sr16x`` stands for super-resolution of four levels."""
    enlarged = re.fullmatch(r"sr(\d+)x", task)
    if enlarged and int(enlarged[1]) != 2 ** len(sizes.trunk):
        raise TimError(f"task {task!r}: {path} has {len(sizes.trunk)} levels, which enlarge {2 ** len(sizes.trunk)}x")
    task = "super_resolution" if enlarged else task
    if task not in TASKS:
        raise TimError(f"task {task!r} is not known of files of the method's authors: {did_you_mean(task, TASKS)}")
    fitting = _tasks_of(sizes)
    if task not in fitting:
        raise TimError(f"task {task!r}: {path} is no such network by its keys and shapes: {' or '.join(fitting)}")
    return task


def _tasks_of(sizes: Sizes) -> tuple[str, ...]:
    """Return the tasks that keys and shapes allow."""
    if sizes.outputs == 2:
        return ("colorization",)
    if not sizes.enlarges:
        return ("decompression", "generic")
    has_labels = sizes.inputs > _NETWORKS["layouts"]["num_in_ch"]
    return ("layouts",) if has_labels else ("super_resolution", "decompression", "generic")
