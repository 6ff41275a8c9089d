"""Numbers of numpy and torch as Python's own, which is what records and messages hold."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any


def plain_number(value: Any) -> Any:
    """Return a whole number of any type, and a number, array or tensor without dimensions, as Python's; else ``value``.

    True and False, numpy's among them, become Python's, which are no numbers.
    """
    if getattr(value, "ndim", None) == 0 and hasattr(value, "tolist"):
        return value.tolist()
    return int(value) if isinstance(value, Integral) and not isinstance(value, bool) else value


def plain_numbers(values: Any) -> Any:
    """Return a sequence, or an array or tensor of one dimension, as a list of plain numbers; else as plain_number."""
    values = values.tolist() if hasattr(values, "tolist") else values
    is_list = isinstance(values, Sequence) and not isinstance(values, (str, bytes))
    return [plain_number(one) for one in values] if is_list else plain_number(values)


def is_whole(value: Any) -> bool:
    """Tell whether a value is a whole number of Python; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool)
