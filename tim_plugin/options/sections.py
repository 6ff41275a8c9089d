"""Small checks of one section of an option file; no torch."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from tim_plugin.options.values import number_hint
from tim_plugin.utils.errors import TimError


def section_of(opt: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a section, empty where it is absent; ``name`` is a path such as ``train: optim_g``.

    Raises:
        TimError: Something on the path is no section.
    """
    section: Any = opt
    for key in name.split(": ") if name else []:
        section = section.get(key) or {}
        if not isinstance(section, Mapping):
            raise TimError(f"{name}: must be a section with keys, not {section!r}")
    return section


def place(section: str, key: str) -> str:
    """Return how a key is called in errors."""
    return f"{section}: {key}" if section else key


def require(section: str, options: Mapping[str, Any], keys: tuple[str, ...]) -> None:
    """Raise TimError for the first key that is absent or empty; a misspelling of it is pointed out."""
    for key in keys:
        if options.get(key) is None:
            near = difflib.get_close_matches(key, [str(name) for name in options if name not in keys], n=1, cutoff=0.75)
            raise TimError(
                f"{place(section, key)} is missing" + (f"; is '{near[0]}' a misspelling of it?" if near else "")
            )


def check_numbers(section: str, options: Mapping[str, Any], keys: tuple[str, ...]) -> None:
    """Raise TimError for the first of these keys that holds text, as YAML makes of ``1e-4``."""
    for key in keys:
        value = options.get(key)
        if isinstance(value, str):
            raise TimError(f"{place(section, key)} is the text {value!r}, a number is needed: {number_hint(value)}")


def refuse_near_misses(section: str, options: Mapping[str, Any], known: set[str]) -> None:
    """Raise TimError for a key that is nearly a known one: a typo; what is far from all belongs to somebody else."""
    for key in options:
        near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.8)
        # pretrain_network_d beside pretrain_network_g is another network, not a typo
        if (
            key not in known
            and near
            and not str(key).startswith(("pretrain_network_", "param_key_", "strict_load_", "network_"))
        ):
            raise TimError(f"unknown key '{place(section, str(key))}': did you mean '{near[0]}'?")


def refuse_misspelling(name: str, value: Any, known: Iterable[str]) -> None:
    """Raise TimError for a value that is nearly a known one; other plugins' names are left to their registries."""
    known = list(known)
    near = difflib.get_close_matches(str(value), known, n=1, cutoff=0.8)
    if value not in known and near:
        raise TimError(f"{name} {value!r} is not known: did you mean '{near[0]}'?")
