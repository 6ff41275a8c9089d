"""Degradations by the names that option files use, and their options."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import torch

from tim_plugin.degradations.base import Degradation
from tim_plugin.degradations.bicubic import Bicubic
from tim_plugin.degradations.jpeg import Jpeg
from tim_plugin.degradations.labels import Labels
from tim_plugin.degradations.lightness import Lightness
from tim_plugin.degradations.pca import PrincipalComponents
from tim_plugin.degradations.unknown import Unknown
from tim_plugin.utils.errors import TimError, did_you_mean
from tim_plugin.utils.signatures import NEEDED, Option, options_of

DEGRADATIONS: dict[str, type[Degradation]] = {
    "bicubic": Bicubic,
    "jpeg": Jpeg,
    "labels": Labels,
    "lightness": Lightness,
    "pca": PrincipalComponents,
    "unknown": Unknown,
}
OF_ANY_PICTURE = ("bicubic", "unknown")  # of any number of channels; they have a scale
GIVEN = ("scale",)  # a constructor's argument that is no option: the tower's or the task's


@cache
def degradation_options(kind: str) -> tuple[Option, ...]:
    """Return the options of a degradation, read from its constructor.

    Args:
        kind: A key of :data:`DEGRADATIONS`.
    """
    return tuple(option for option in options_of(DEGRADATIONS[kind].builder()) if option.name not in GIVEN)


def network_options(kind: str) -> tuple[Option, ...]:
    """Return those options of a degradation that ``network_g: degradation`` has too."""
    return tuple(option for option in degradation_options(kind) if option.name not in DEGRADATIONS[kind].dataset_only)


def build_degradation(kind: str, arguments: Mapping[str, Any], where: str) -> Degradation:
    """Build a degradation, on the CPU.

    Args:
        kind: A key of :data:`DEGRADATIONS`.
        arguments: By the names of :func:`degradation_options`, and ``scale`` of those that have one.
        where: The option that asks for it, for errors.

    Raises:
        TimError: An argument is missing or wrong.
    """
    for option in degradation_options(kind):
        if option.default is NEEDED and arguments.get(option.name) is None:
            raise TimError(f"{where}: {option.name} is missing, which '{kind}' needs")
    try:
        with torch.device("cpu"):  # also that of a network that is built without memory for its weights
            return DEGRADATIONS[kind].builder()(**arguments)
    except (TypeError, TimError) as error:
        raise TimError(f"{where}: {error}") from error


def build_for_tower(section: str | Mapping[str, Any], scale: int, num_in_ch: int, num_out_ch: int) -> Degradation:
    """Build what ``network_g: degradation`` names.

    Args:
        section: ``type`` and the degradation's own keys; or the type alone.
        scale: The tower's.
        num_in_ch: The tower's.
        num_out_ch: The tower's.

    Raises:
        TimError: An argument is missing or wrong, or the tower has other channels.
    """
    section = {"type": section} if isinstance(section, str) else section
    kind, arguments = section["type"], {key: value for key, value in section.items() if key != "type"}
    if kind not in DEGRADATIONS:
        raise TimError(f"network_g: degradation: type {kind!r} is not known: {did_you_mean(str(kind), DEGRADATIONS)}")
    if kind == "bicubic" and num_in_ch != num_out_ch:
        raise TimError(
            f"network_g: num_in_ch {num_in_ch} and num_out_ch {num_out_ch} do not fit degradation 'bicubic', whose LQ "
            "has as many channels as the GT: give both the same"
        )
    if kind in OF_ANY_PICTURE:
        return build_degradation(kind, {**arguments, "scale": scale}, "network_g: degradation")
    degradation = build_degradation(kind, arguments, "network_g: degradation")
    for key, given, needed in (
        ("num_in_ch", num_in_ch, degradation.channels),
        ("num_out_ch", num_out_ch, degradation.image_channels),
    ):
        if given != needed:
            raise TimError(
                f"network_g: {key} {given} does not fit degradation '{kind}', which has {needed} channels: use "
                f"{key}: {needed}"
            )
    return degradation


def portable_section(section: Mapping[str, Any], degradation: Degradation) -> dict[str, Any]:
    """Return ``degradation`` as a network's argument, without the files that its section may name; or nothing.

    Args:
        section: ``type`` and the degradation's own keys.
        degradation: Built of it.
    """
    contents = degradation.portable()
    return {"degradation": {**section, **contents}} if contents else {}
