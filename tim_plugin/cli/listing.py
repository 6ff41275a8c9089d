"""``tim models`` and ``tim options``: what the package holds; neither loads torch."""

from __future__ import annotations

import argparse

from tim_plugin.utils.task_options import find_option_file, option_files
from tim_plugin.utils.texts import read_text
from tim_plugin.utils.weight_headers import described


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
        print(read_text(path, str(path)), end="")
