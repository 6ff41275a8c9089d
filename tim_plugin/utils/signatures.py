"""Options as a list: the name, type, default and meaning of each, read from where it stands once."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, get_type_hints

NEEDED = inspect.Parameter.empty  # in place of a default: the option must be given


class Option(NamedTuple):
    """One option.

    Attributes:
        name: Its key in an option file.
        type: Its type: ``int``, ``float | None``, ``Literal[...]``, ``tuple[int, ...]``, a section.
        default: What stands for it where it is left out; :data:`NEEDED` where it cannot be.
        sentence: What it means.
        least: Smallest number it may be.
        above: Number it must be more than.
        most: Largest number it may be.
        below: Number it must be less than.
        whole: Whether a number is a count, which may be written as a float: ``5e3``.
        wanted: What would be right, for errors, where the type alone does not say it.
        by_type: Of a section with a ``type``: the keys of the types that are known.
        is_closed: Whether there are no other types than these.
        basicsr: Whether it is BasicSR's own.
    """

    name: str
    type: Any
    default: Any
    sentence: str
    least: float | None = None
    above: float | None = None
    most: float | None = None
    below: float | None = None
    whole: bool = False
    wanted: str = ""
    by_type: Mapping[str, Any] = {}
    is_closed: bool = False
    basicsr: bool = False


def options_of(function: Callable[..., Any]) -> list[Option]:
    """Return the arguments of a constructor or a function, by its signature and its docstring's ``Args:``."""
    called = function.__init__ if inspect.isclass(function) else function
    hints, sentences = get_type_hints(called), _sentences(inspect.getdoc(function) or "")
    return [
        Option(name, hints.get(name, Any), parameter.default, sentences.get(name, ""))
        for name, parameter in inspect.signature(function).parameters.items()
    ]


def _sentences(docstring: str) -> dict[str, str]:
    """Return what the ``Args:`` section of a docstring says of each argument."""
    section = re.search(r"^Args:\n((?: +.*\n?|\n)*)", docstring, re.MULTILINE)
    entries = re.findall(r"^ {4}(\w+): (.*(?:\n {8,}.*)*)", section.group(1) if section else "", re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}
