"""Degradations by the names that option files use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tim_plugin.degradations.base import Degradation
from tim_plugin.degradations.bicubic import Bicubic
from tim_plugin.degradations.jpeg import Jpeg
from tim_plugin.degradations.labels import Labels
from tim_plugin.degradations.lightness import Lightness
from tim_plugin.degradations.pca import PrincipalComponents
from tim_plugin.degradations.unknown import Unknown
from tim_plugin.errors import TimError

BUILDERS: dict[str, Callable[..., Degradation]] = {
    "bicubic": Bicubic,
    "jpeg": Jpeg,
    "labels": Labels,
    "lightness": Lightness,
    "pca": PrincipalComponents.from_options,
    "unknown": Unknown,
}


def build_degradation(kind: str, arguments: Mapping[str, Any], where: str) -> Degradation:
    """Build a degradation.

    Args:
        kind: A key of :data:`BUILDERS`.
        arguments: Of its constructor, see :data:`tim_plugin.options.DEGRADATION_KEYS`.
        where: The option that asks for it, for errors.

    Raises:
        TimError: An argument is missing or wrong.
    """
    try:
        return BUILDERS[kind](**arguments)
    except TypeError as error:
        raise TimError(f"{where}: {error}") from error
    except TimError as error:
        raise TimError(f"{where}: {error}") from error
