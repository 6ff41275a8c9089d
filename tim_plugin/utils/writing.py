"""The one way in which files are written: whole or not at all, also where the process is killed or the power fails.

What is written goes to a new file of a random name beside its place, is on the disk before it is renamed, and is locked
meanwhile: a temporary file that nobody has locked was left by a process that is dead, and is removed when another one
first writes to that folder.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from tim_plugin.utils.kernel_lock import try_lock

PREFIX, SUFFIX = ".tim-", ".tmp"  # of temporary names, which are not longer than the longest names
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_OLD_S = 86_400  # where no lock tells whether the writer lives
_TRIES = 100
_seen: set[Path] = set()


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Yield a new file to write to, which takes the place of ``path`` at the end; after an error it is removed.

    Raises:
        OSError: It cannot be written, and names ``path``; what was there is untouched.
    """
    with naming(path):
        _require_file(path)
        _tidy(path.parent)
        temporary, descriptor = _new_file(path.parent)
        try:
            with open(descriptor, "w+b") as file:
                yield file
                file.flush()
                os.fsync(descriptor)
                if os.name == "posix":  # locked until it has its name
                    os.replace(temporary, path)
            if os.name != "posix":  # where an open file cannot be renamed
                os.replace(temporary, path)
            sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        OSError: It cannot be written; what was there is untouched.
    """
    with replacing(path) as file:
        file.write(content)


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file whole or not at all; folders are made.

    Raises:
        OSError: It cannot be written; what was there is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, (json.dumps(content, indent=2) + "\n").encode())


@contextmanager
def appending(path: Path) -> Iterator[IO[bytes]]:
    """Yield a file that is written at its end; a link in its place is not followed.

    Raises:
        OSError: It cannot be written, and names ``path``.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | _NO_LINK | getattr(os, "O_BINARY", 0)
    with naming(path), open(os.open(path, flags, 0o666), "ab") as file:
        yield file


@contextmanager
def temporary_folder(parent: Path) -> Iterator[Path]:
    """Yield a new folder for files that are to be moved into ``parent`` (:func:`move`); it is removed at the end."""
    _tidy(parent)
    folder, descriptor = _new_name(parent), None
    folder.mkdir(mode=0o700)
    try:
        if os.name == "posix":  # elsewhere a folder cannot be opened
            descriptor = os.open(folder, os.O_RDONLY | _NO_LINK)
            try_lock(descriptor)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if descriptor is not None:
            os.close(descriptor)


def move(temporary: Path, path: Path) -> None:
    """Put a file that another library has written into its place, once it is on the disk."""
    with naming(path):
        _require_file(path)
        descriptor = os.open(temporary, os.O_RDWR | _NO_LINK)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
        sync_folder(path.parent)


def _require_file(path: Path) -> None:
    """Raise OSError where a file would take the place of a device, such as /dev/null, or of a named pipe."""
    with suppress(FileNotFoundError):
        mode = os.lstat(path).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode) or stat.S_ISDIR(mode)):  # a folder is refused by the system
            raise OSError(errno.EINVAL, "Is a device or a named pipe, and no file", str(path))


def make_writable(folder: Path) -> None:
    """Make a folder and check that files can be written to it, so that hours of computing are not lost at their end.

    Raises:
        OSError: It cannot be made or written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=folder).close()


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name the file in an error that names none or a temporary one, such as that of a full disk."""
    try:
        yield
    except OSError as error:
        named = error.filename
        if error.errno is None or (named is not None and not os.path.basename(os.fsdecode(named)).startswith(PREFIX)):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def sync_folder(folder: Path) -> None:
    """Have a folder's new names on the disk, where the system can."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems have no such thing
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _new_name(folder: Path) -> Path:
    return folder / f"{PREFIX}{secrets.token_hex(4)}{SUFFIX}"


def _new_file(folder: Path) -> tuple[Path, int]:
    """Make a file of a random name and lock it; return its path and descriptor."""
    for _ in range(_TRIES):
        path = _new_name(folder)
        try:
            descriptor = os.open(path, _NEW, 0o666)
        except FileExistsError:
            continue
        if try_lock(descriptor) is not False and os.fstat(descriptor).st_nlink:
            return path, descriptor
        os.close(descriptor)  # another process has just taken it for one that was left, and removes it
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(folder))


def _tidy(folder: Path) -> None:
    """Remove what dead processes have left in a folder, before this process first writes to it."""
    if folder in _seen:
        return
    _seen.add(folder)
    with suppress(OSError), os.scandir(folder) as entries:
        left = [Path(entry) for entry in entries if entry.name.startswith(PREFIX) and entry.name.endswith(SUFFIX)]
        for path in left:
            with suppress(OSError):  # another process is quicker
                _remove_if_left(path)


def _remove_if_left(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | _NO_LINK | getattr(os, "O_NONBLOCK", 0))
    try:
        status, is_free = os.fstat(descriptor), try_lock(descriptor)
        if is_free is False or (is_free is None and time.time() - status.st_mtime < _OLD_S):
            return
        if stat.S_ISDIR(status.st_mode):
            shutil.rmtree(path, ignore_errors=True)
        elif os.name == "posix":
            path.unlink()
    finally:
        os.close(descriptor)
    if os.name != "posix":
        path.unlink()
