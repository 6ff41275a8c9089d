"""The kernel's lock of an open file, which it frees however the process ends."""

from __future__ import annotations

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


def try_lock(descriptor: int) -> bool | None:
    """Return whether the lock was free, and is held now; None where there are no locks.

    Args:
        descriptor: Of an open file or folder; closing it frees the lock.
    """
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:  # this file system has none
        return None
    return True
