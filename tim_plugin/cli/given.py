"""What several commands read from their command lines alike."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def given_text(text: str) -> str:
    """Return what was given, as an argument's ``type``.

    Raises:
        ArgumentTypeError: It has no letters, as where a variable of the shell is not set.
    """
    if not text.strip():
        raise argparse.ArgumentTypeError("is empty; give the file or folder")
    return text


def given_path(text: str) -> Path:
    """Return a path; registered for ``type=Path``, which takes an empty text for the current folder.

    Raises:
        ArgumentTypeError: It has no letters.
    """
    return Path(given_text(text))


def add_quiet(parser: argparse.ArgumentParser, **options: Any) -> None:
    """Add ``--quiet``."""
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors", **options)
