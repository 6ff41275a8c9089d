"""A folder of graphs that are slow to make, each under a digest of what it was made of; without it all is only slower.

A file is the SHA-256 of its graph and the graph, so that a damaged one is found, and made anew.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tim_plugin.utils.notes import say_once
from tim_plugin.utils.writing import write_atomically

SUFFIX = ".graph"
MOST_BYTES = 2**30  # of all files; beyond, those that were not used for the longest time are removed
_DIGEST_BYTES = hashlib.sha256().digest_size


def cache_folder() -> Path:
    """Return ``$XDG_CACHE_HOME/tim_plugin``, by default ``~/.cache/tim_plugin``."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(named) if os.path.isabs(named) else Path("~/.cache").expanduser()
    return base / "tim_plugin"


def kept(digest: str, make: Callable[[], bytes]) -> bytes:
    """Return the graph of a digest, from the folder or newly made; a folder that cannot be written to is said once.

    Args:
        digest: Of all that the graph depends on.
        make: Makes it.
    """
    path = cache_folder() / f"{digest}{SUFFIX}"
    found = _read(path)
    if found is not None:
        with suppress(OSError):
            os.utime(path)  # used now
        return found
    content = make()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, hashlib.sha256(content).digest() + content)
        _remove_oldest(path.parent)
    except OSError as error:
        say_once(("cache", path.parent), f"{path.parent}: graphs are not kept there ({error.strerror or error})")
    return content


def _read(path: Path) -> bytes | None:
    try:
        stored = path.read_bytes()
    except OSError:
        return None
    content = stored[_DIGEST_BYTES:]
    return content if hashlib.sha256(content).digest() == stored[:_DIGEST_BYTES] else None


def _remove_oldest(folder: Path) -> None:
    entries = [(entry.stat(), entry.path) for entry in os.scandir(folder) if entry.name.endswith(SUFFIX)]
    total = 0
    for status, path in sorted(entries, key=lambda one: one[0].st_mtime, reverse=True):
        total += status.st_size
        if total > MOST_BYTES:
            with suppress(OSError):  # another process was quicker
                os.unlink(path)
