"""What a user should know once, on standard error: a file that was read in another way than its owner may expect."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from tqdm import tqdm

_said: set[object] = set()
_listening: ContextVar[list[str] | None] = ContextVar("_listening", default=None)


def say_once(key: object, text: str) -> None:
    """Print ``note: text`` on stderr, above a progress bar if there is one; nothing if ``key`` was said before."""
    heard = _listening.get()
    if heard is not None:
        heard.append(text)
    if key not in _said:
        _said.add(key)
        tqdm.write(f"note: {text}", file=sys.stderr)


@contextmanager
def hearing() -> Iterator[list[str]]:
    """Give a list that gets the notes of this thread, also those that were said before; they are printed as well."""
    token = _listening.set([])
    try:
        yield _listening.get()
    finally:
        _listening.reset(token)
