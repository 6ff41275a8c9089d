"""What a user should know once, on standard error: a file that was read in another way than its owner may expect."""

from __future__ import annotations

import sys

from tqdm import tqdm

_said: set[object] = set()


def say_once(key: object, text: str) -> None:
    """Print ``note: text`` on stderr, above a progress bar if there is one; nothing if ``key`` was said before."""
    if key not in _said:
        _said.add(key)
        tqdm.write(f"note: {text}", file=sys.stderr)
