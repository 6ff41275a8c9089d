"""Checks of single values and of a section's keys, each with one sentence for what is wrong; no torch."""

from __future__ import annotations

import difflib
import math
import unicodedata
from collections.abc import Collection, Mapping
from typing import Any

from tim_plugin.utils.errors import TimError, did_you_mean

OTHERS = ("pretrain_network_", "param_key_", "strict_load_", "network_")  # of other networks, and no typos
LARGEST = 2**63  # what an int of torch holds
SHOWN = 80  # letters of a value in an error
PRECISIONS = ("fp32", "bf16")


def join(section: str, key: str) -> str:
    """Return how a key is called in errors."""
    return f"{section}: {key}" if section else key


def as_section(place: str, value: Any) -> Mapping[str, Any]:
    """Return a section, empty where it is None; raise TimError for what is no section."""
    value = {} if value is None else value
    if not isinstance(value, Mapping):
        raise TimError(f"{place}: must be a section with keys, not {shown(value)}")
    return value


def section_of(opt: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    """Return a section, empty where it is absent, by a path such as ``train: optim_g``."""
    for key in path.split(": "):
        opt = as_section(path, opt.get(key) or {})
    return opt


def require(section: str, options: Mapping[str, Any], keys: tuple[str, ...], filled_in: Collection[str] = ()) -> None:
    """Raise TimError for the first key that is absent or empty; a misspelling of it is pointed out.

    Args:
        section: What it is called in errors.
        options: The section.
        keys: That must be there.
        filled_in: Keys that the program itself adds, and nobody has misspelled.
    """
    for key in keys:
        if options.get(key) is None:
            written = [str(name) for name in options if name not in keys and name not in filled_in]
            near = difflib.get_close_matches(key, written, n=1, cutoff=0.75)
            raise TimError(
                f"{join(section, key)} is missing" + (f"; is '{near[0]}' a misspelling of it?" if near else "")
            )


def check_keys(section: str, options: Mapping[str, Any], valid: set[str], filled_in: Collection[str] = ()) -> None:
    """Raise TimError for the first key that is neither in ``valid`` nor ``filled_in``, with the nearest valid one."""
    for key in options:
        if key not in valid and key not in filled_in:
            where = f"{section}: " if section else ""
            raise TimError(f"{where}unknown key {shown(key)}: {did_you_mean(str(key)[:SHOWN], valid)}")


def refuse_near_misses(section: str, options: Mapping[str, Any], known: set[str]) -> None:
    """Raise TimError for a key that is nearly a known one: a typo; what is far from all belongs to somebody else."""
    for key in options:
        near = difflib.get_close_matches(str(key)[:SHOWN], known, n=1, cutoff=0.8)
        # pretrain_network_d beside pretrain_network_g is another network, not a typo
        if key not in known and near and not str(key).startswith(OTHERS):
            raise TimError(f"unknown key '{join(section, str(key)[:SHOWN])}': did you mean '{near[0]}'?")


def refuse_misspelling(name: str, value: Any, known: Collection[str]) -> None:
    """Raise TimError for a value that is nearly a known one; other plugins' names are left to their registries."""
    near = difflib.get_close_matches(str(value)[:SHOWN], known, n=1, cutoff=0.8)
    if near and value not in list(known):
        raise TimError(f"{name} {shown(value)} is not known: did you mean '{near[0]}'?")


def per_level(name: str, value: Any, num_levels: int) -> tuple[Any, ...]:
    """Return one entry a level, coarse to fine; a single value stands for all levels.

    Raises:
        TimError: There is not one a level.
    """
    values = tuple(value) if isinstance(value, (list, tuple)) else (value,) * num_levels
    if len(values) != num_levels:
        raise TimError(f"{name} has {len(values)} entries for {num_levels} levels: give one number or {num_levels}")
    return values


def require_number(name: str, value: Any, kind: type, minimum: float | None = None) -> None:
    """Raise TimError for what is no finite number of this kind (int or float), or less than ``minimum``."""
    if isinstance(value, str):
        raise TimError(f"{name} is the text {shown(value)}, a number is needed: {number_hint(value)}")
    if isinstance(value, bool) or not isinstance(value, int if kind is int else (int, float)):
        raise TimError(f"{name} must be {'a whole number' if kind is int else 'a number'}, not {shown(value)}")
    if not (math.isfinite(value) if isinstance(value, float) else abs(value) <= LARGEST):
        raise TimError(f"{name} must be a finite number, not {shown(value)}")
    if minimum is not None and value < minimum:
        raise TimError(f"{name} must be at least {minimum}, not {value}")


def require_text(name: str, value: Any) -> None:
    """Raise TimError for what is no text, or holds what neither a terminal nor a file's name can hold."""
    if not isinstance(value, str):
        raise TimError(f"{name} must be text, not {shown(value)}: put it in quotes")
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in value):  # control characters, surrogates
        raise TimError(f"{name} {shown(value)} holds what is no letter: write it in printable letters")


def shown(value: Any) -> str:
    """Return a value for an error, cut where it is long; what is nested is not written out."""
    if isinstance(value, int) and abs(value) > LARGEST:
        return "a number of more than 64 bits"
    if isinstance(value, Mapping):
        return f"a section ({', '.join(shown(key) for key in list(value)[:3])}{', ...' * (len(value) > 3)})"
    if isinstance(value, (list, tuple)) and any(isinstance(one, (list, tuple, Mapping)) for one in value):
        return f"a list of {len(value)}"
    text = repr(value if len(value) <= SHOWN else value[:SHOWN]) if isinstance(value, (list, str)) else repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]} ..."


def number_hint(text: str) -> str:
    """Say how a number that YAML took for text has to be written."""
    try:
        number = float(text)
    except ValueError:
        return "write it without quotes"
    return f"write it without quotes, as {number:g}, or where another program reads the YAML as !!float {text}"


def require_bool(name: str, value: Any) -> None:
    """Raise TimError for what is neither true nor false."""
    if not isinstance(value, bool):
        raise TimError(f"{name} must be true or false, not {shown(value)}")


def refuse_empty(name: str, value: Any, wanted: str) -> None:
    """Raise TimError for a path of no letters, which functions of files take for the current folder."""
    if isinstance(value, str) and not value.strip():
        raise TimError(f"{name} is empty; give {wanted}")


def require_choice(name: str, value: Any, choices: Collection[str]) -> None:
    """Raise TimError for what is none of the choices; the nearest is offered."""
    if value not in list(choices):  # which a list or a section can be asked for
        raise TimError(f"{name} {shown(value)} is not known: {did_you_mean(str(value)[:SHOWN], choices)}")
