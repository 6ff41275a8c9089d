"""Names of outputs: for several files one each, no two alike; and those that a user gives, which must be one part."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tim_plugin.utils.errors import TimError

LONGEST_BYTES = 180  # most disks take 255, and times, numbers and suffixes are added

MOST_BYTES = 255  # of a file's name, on most file systems
_BEHIND = 12  # bytes, for what is put behind: ``_s00.png``, ``_sheet.png``


def fitting_name(name: str) -> str:
    """Return a name that leaves room for what is put behind it: of a very long one the beginning and a digest."""
    encoded = in_bytes(name)
    if len(encoded) <= MOST_BYTES - _BEHIND:
        return name
    digest = hashlib.sha256(encoded).hexdigest()[:8]
    return f"{encoded[: MOST_BYTES - _BEHIND - len(digest) - 1].decode(errors='ignore')}_{digest}"


def in_bytes(name: str) -> bytes:
    """Return a name as the disk has it, whatever the locale: bytes that are no text are surrogates in Python."""
    return name.encode("utf-8", "surrogateescape")


def distinct_names(files: Sequence[Path | str]) -> list[str]:
    """Return a name for each of several files: its stem where no other has the same.

    Else it is the file's name (``v.jpg``: ``v_jpg``); where that is not enough, its place below the folder that all
    share (``a/x.png``: ``a_x``, or ``a_x_png``); and at last the same with a number. Names that differ in case alone
    count as the same, as they do on many disks.

    Args:
        files: Their order does not matter, unless a number is needed.
    """
    paths = [Path(os.path.abspath(file)) for file in files]
    shared = os.path.commonpath([path.parent for path in paths]) if paths else ""
    places = [path.relative_to(shared) for path in paths]
    ways = [
        [path.stem for path in paths],
        [_joined(path.name) for path in paths],
        [_joined(place.with_suffix("")) for place in places],
        [_joined(place) for place in places],
        [f"{_joined(place)}_{number}" for number, place in enumerate(places)],
    ]
    chosen = [0] * len(paths)
    while True:
        names = [ways[way][index] for index, way in enumerate(chosen)]
        times = Counter(name.casefold() for name in names)
        clashing = [i for i, name in enumerate(names) if times[name.casefold()] > 1 and chosen[i] < len(ways) - 1]
        if not clashing:
            return [fitting_name(name) for name in names]
        for index in clashing:
            chosen[index] += 1


def check_name(where: str, name: Any) -> None:
    """Refuse what cannot be the name of one file or folder within its folder.

    Args:
        where: What is named: ``name``, ``datasets: test_1: name``.
        name: As the user gave it.

    Raises:
        TimError: It is no text, empty, a path, too long, or holds what no name can.
    """
    if not isinstance(name, str):
        raise TimError(f"{where} must be a text, not {name!r}: put it into quotes")
    try:
        length = len(os.fsencode(name))
    except UnicodeEncodeError:
        length = None
    if not name.strip():
        wrong = "is empty"
    elif name.strip() in (".", ".."):
        wrong = "is a folder that is there already"
    elif {"/", "\\"} & set(name):
        wrong = "must not hold / or \\"
    elif length is None or any(ord(letter) < 32 or ord(letter) == 127 for letter in name):
        wrong = "holds a character that no name can have"
    elif length > LONGEST_BYTES:
        wrong = f"is {length} bytes long, and may have {LONGEST_BYTES}"
    else:
        return
    shown = repr(name if len(name) <= 60 else f"{name[:60]}...")
    raise TimError(f"{where} {shown} {wrong}: give a name of letters, digits, '_', '-', '.'")


def require_path(where: str, path: Any, what: str = "give a path") -> Path:
    """Return a path that a user gave, with ``~`` replaced.

    Args:
        where: The argument, which the error begins with.
        path: A text or a path.
        what: What would be right.

    Raises:
        TimError: It is neither, empty, or holds what no path can.
    """
    if not isinstance(path, (str, os.PathLike)) or isinstance(os.fspath(path), bytes):
        raise TimError(f"{where} is of type {type(path).__name__}: {what}")
    if not os.fspath(path).strip():
        raise TimError(f"{where} is an empty text: {what}")
    if "\0" in os.fspath(path):
        raise TimError(f"{where} {os.fspath(path)!r} holds a character that no path can have: {what}")
    return Path(os.path.expanduser(path))  # which leaves a home that is not known as it is, where Path raises


def _joined(place: Path | str) -> str:
    return "_".join(Path(place).parts).replace(".", "_")
