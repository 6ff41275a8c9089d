"""Checks of single values of an option file; no torch."""

from __future__ import annotations

from typing import Any

from tim_plugin.utils.errors import TimError, did_you_mean


def per_level(name: str, value: Any, num_levels: int) -> tuple[int, ...]:
    """Return one positive integer a level; a single number stands for all levels.

    Raises:
        TimError: Not integers, or not one a level.
    """
    values = tuple(value) if isinstance(value, (list, tuple)) else (value,) * num_levels
    if len(values) != num_levels:
        raise TimError(f"{name} has {len(values)} entries for {num_levels} levels: give one number or {num_levels}")
    for item in values:
        require_number(name, item, int, minimum=1)
    return values


def require_number(name: str, value: Any, kind: type, minimum: float | None = None) -> None:
    """Raise TimError for what is no number of this kind (int or float), or less than ``minimum``."""
    if isinstance(value, str):
        raise TimError(f"{name} is the text {value!r}, a number is needed: {number_hint(value)}")
    allowed = int if kind is int else (int, float)
    if isinstance(value, bool) or not isinstance(value, allowed):
        raise TimError(f"{name} must be {'a whole number' if kind is int else 'a number'}, not {value!r}")
    if minimum is not None and value < minimum:
        raise TimError(f"{name} must be at least {minimum}, not {value}")


def number_hint(text: str) -> str:
    """Say how a number that YAML took for text has to be written."""
    try:
        number = float(text)
    except ValueError:
        return "write it without quotes"
    return f"YAML reads it as text without a decimal point; write !!float {text} (or {number!r})"


def require_bool(name: str, value: Any) -> None:
    """Raise TimError for what is neither true nor false."""
    if not isinstance(value, bool):
        raise TimError(f"{name} must be true or false, not {value!r}")


def require_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    """Raise TimError for what is none of the choices; the nearest is offered."""
    if value not in choices:
        raise TimError(f"{name} {value!r} is not known: {did_you_mean(str(value), choices)}")
