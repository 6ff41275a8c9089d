"""``tim models`` and ``tim options``: what the package holds; neither loads torch."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from tim_plugin.utils.task_options import find_option_file, option_files
from tim_plugin.utils.texts import read_text
from tim_plugin.utils.weight_headers import described

SCHEMA = "# yaml-language-server: $schema="


def add_models_arguments(parser: argparse.ArgumentParser) -> None:
    """Add nothing: it has no arguments of its own."""
    parser.description = "List the towers of the package: name, size, and what each does."


def models(args: argparse.Namespace) -> None:
    """Print a line for each tower."""
    print(described())


def add_options_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the name of the file."""
    parser.description = "Print an option file of the package: tim options sr16x > my.yml; without a name, their names."
    parser.add_argument("name", nargs="?", help="a task, or a compared system")
    parser.add_argument("--test", action="store_true", help="the file for tests, not that for training")


def options(args: argparse.Namespace) -> None:
    """Print the file, or the names of all.

    Raises:
        TimError: There is none of that name, or it is no text.
    """
    phase = "test" if args.test else "train"
    if args.name is None:
        print("\n".join(option_files(phase)))
    else:
        path = find_option_file(args.name, phase)
        print(_elsewhere(read_text(path, str(path)), path), end="")


def _elsewhere(text: str, path: Path) -> str:
    """Return an option file's text as it is right in any folder: where the editor's schema lies, and the command."""
    first, rest = text.split("\n", 1)
    if first.startswith(SCHEMA):
        schema = path.parent / first.removeprefix(SCHEMA)
        text = f"{SCHEMA}{schema.resolve()}\n{rest}" if schema.is_file() else rest
    return re.sub(r"python tools/(train|test|prepare_data)\.py( -opt options/\S+)?", _command, text)


def _command(found: re.Match[str]) -> str:
    name, file = found.groups()
    return f"tim {name.removesuffix('_data')}{' THIS_FILE' if file else ''}"
