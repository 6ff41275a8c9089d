"""C libraries kept from writing to standard error, while Python goes on writing there, in every thread."""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_STDERR = 2
_lock = threading.Lock()  # two threads at once would restore standard error in the wrong order


@contextmanager
def stderr_silenced() -> Iterator[None]:
    """Keep the lines of a C library that has no other way to be silent from standard error; Python's are written."""
    with _lock:
        try:
            kept = os.dup(_STDERR)
        except OSError:  # it is closed
            yield
            return
        files = _python_files()
        try:
            _lead(files, kept)
            with open(os.devnull, "wb") as nothing:
                os.dup2(nothing.fileno(), _STDERR)
            yield
        finally:
            os.dup2(kept, _STDERR)
            _lead(files, _STDERR)
            os.close(kept)


def _python_files() -> dict[io.FileIO, io.TextIOBase]:
    """Return what Python writes to standard error by, each with the stream that holds it; pytest, Jupyter have others.

    The file below the stream is led elsewhere, not ``sys.stderr`` replaced: progress bars and loggers hold the stream.
    """
    files = {}
    for stream in (sys.stderr, sys.__stderr__):
        buffer = getattr(stream, "buffer", None)
        file = getattr(buffer, "raw", buffer)  # with ``python -u`` there is no buffer between
        if isinstance(file, io.FileIO) and not file.closed and not file.closefd and file.fileno() == _STDERR:
            files[file] = stream
    return files


def _lead(files: dict[io.FileIO, io.TextIOBase], descriptor: int) -> None:
    """Let files write to another descriptor, once what another thread is writing is written."""
    for file, stream in files.items():
        name = file.name
        file.__init__(descriptor, file.mode, closefd=False)
        file.name = name
        with suppress(OSError, ValueError):  # a full disk or a closed pipe is told to those who write
            stream.flush()
