"""One command at a time writes to a folder, or to a file: it holds a lock file with its process id and host.

The lock itself is ``flock``, which the kernel frees however a process ends, also over most network file systems. Where
there is none (Windows, some network file systems) the file's existence is the lock. A file that a dead process has left
is taken over: of a process of this host, the kernel says whether it lives; of one of another host (or container), the
file's time says it, which the holder renews every few seconds.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from tim_plugin.utils.errors import TimError
from tim_plugin.utils.kernel_lock import try_lock

NAME = ".tim.lock"
RENEW_S = 3.0
WATCH_S = 15.0  # several times RENEW_S, and what a network file system may show an older time for
_TRIES = 20
_FLAGS = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0)
_held: set[int] = set()


class _Owner(NamedTuple):
    pid: int
    host: str


@contextmanager
def locked(path: Path | str, where: str, *, beside: bool = False) -> Iterator[None]:
    """Hold the lock of a folder or file while it is written; folders that are still empty at the end are removed.

    Args:
        path: What is written. A folder is made, if it is not there, with the lock file in it.
        where: How the user named it, for errors: ``-o DIR``.
        beside: Put the lock file beside ``path``: it is a file, or a folder that will be moved.

    Raises:
        TimError: Another process (or another thread of this one) holds the lock, or no file can be written there, as
            it is a file itself.
    """
    path = Path(path).absolute()
    if not beside and path.exists() and not path.is_dir():
        raise TimError(f"{where}: is a file; give a folder")
    file = Path(os.path.realpath(path.parent)) / f".{path.name}.lock" if beside else path / NAME
    made = [folder for folder in file.parents if not folder.exists()]
    try:
        descriptor = _acquire(file, where)
        stop = threading.Event()
        threading.Thread(target=_renew, args=(file, stop), daemon=True).start()
        try:
            yield
        finally:
            stop.set()
            _release(file, descriptor)
    finally:
        with suppress(OSError):  # not empty
            for folder in made:
                folder.rmdir()


def _acquire(file: Path, where: str) -> int:
    """Return the descriptor of the lock file, once it is this process's own."""
    for last in reversed(range(_TRIES)):
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            descriptor = _try(file, where)
            if descriptor is not None:
                return descriptor
        except OSError as error:
            if last == 0 or not isinstance(error, FileNotFoundError):  # else its holder has just removed it
                raise TimError(f"{where}: cannot be written to: {error.strerror or error}") from error
    raise TimError(_in_use(where, None))


def _try(file: Path, where: str) -> int | None:
    """Return the descriptor; None where the file was removed meanwhile, or has just been because nobody holds it."""
    try:
        descriptor, is_new = os.open(file, _FLAGS | os.O_CREAT | os.O_EXCL, 0o666), True
    except FileExistsError:
        descriptor, is_new = os.open(file, _FLAGS), False
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, f"{file.name} is no regular file")
        by_kernel, owner = try_lock(descriptor), _owner(descriptor)
        if by_kernel is False:
            raise TimError(_in_use(where, owner))
        if not is_new and _lives(file, owner, bool(by_kernel)):
            raise TimError(f"{_in_use(where, owner)}; if that is gone, remove {file}")
        if (is_new or by_kernel) and os.path.samestat(os.fstat(descriptor), file.stat()):
            os.ftruncate(descriptor, 0)
            os.lseek(descriptor, 0, os.SEEK_SET)
            os.write(descriptor, f"{os.getpid()} {socket.gethostname()}\n".encode())
            _held.add(descriptor)
            return descriptor
    finally:
        if descriptor not in _held:
            os.close(descriptor)
    if not by_kernel:
        file.unlink()
    return None


def _owner(descriptor: int) -> _Owner | None:
    pid, _, host = os.read(descriptor, 1000).decode(errors="replace").strip().partition(" ")
    return _Owner(int(pid), host) if pid.isdecimal() and host else None


def _in_use(where: str, owner: _Owner | None) -> str:
    who = "another process" if owner is None else f"process {owner.pid} on {owner.host}"
    return f"{where}: is in use by {who}: let it end, or write elsewhere"


def _lives(file: Path, owner: _Owner | None, is_free: bool) -> bool:
    """Tell whether the process that has left a lock file still lives.

    Args:
        file: The lock file.
        owner: Whom it names.
        is_free: The kernel's lock was free: no process of this host has it.
    """
    of_this_host = owner is not None and owner.host == socket.gethostname()
    if is_free and (of_this_host or owner is None):
        return False
    if of_this_host and os.name == "posix":
        return _is_running(owner.pid)
    first, until = file.stat().st_mtime_ns, time.monotonic() + WATCH_S
    while time.monotonic() < until:
        time.sleep(min(1.0, WATCH_S / 10))
        with file.open("rb") as opened:  # opening asks a network file system for the time of now
            if os.fstat(opened.fileno()).st_mtime_ns != first:
                return True
    return False


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # it is another user's
        return True
    return True


def _renew(file: Path, stop: threading.Event) -> None:
    while not stop.wait(RENEW_S):
        with suppress(OSError):
            os.utime(file)


def _release(file: Path, descriptor: int) -> None:
    if descriptor not in _held:  # this is a forked child
        return
    _held.discard(descriptor)
    ours = False
    with suppress(OSError):  # somebody may have removed it, and another process made its own
        ours = os.path.samestat(os.fstat(descriptor), file.stat())
        if ours and os.name == "posix":  # while it is locked: who waits for it sees that it is gone
            file.unlink()
    os.close(descriptor)
    if ours and os.name != "posix":  # where an open file cannot be removed
        with suppress(OSError):
            file.unlink()


def _forget() -> None:
    """Close the copies of a forked child, which would keep the lock when this process is killed."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
