"""What a command says when it fails: one sentence for what its user can mend; a fault of ours is said to be one.

Mistakes that the code has found are :class:`TimError` and have their sentence. What the machine refuses (a full disk, a
folder that is gone, memory that ran out) may come from anywhere, and gets its sentence here.
"""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress

from tim_plugin.utils.errors import MachineError, NonFiniteError, TimError, is_out_of_memory

OURS = (
    "this is a fault of tim_plugin, and not yours: please report it with the command, the lines above and what "
    "tim --version prints"
)
STAYS = "what was written stays: give the same command again"
MEMORY = (
    "memory ran out: give it less at once (smaller images, batches, pools; fewer workers), or end other programs; "
    + STAYS
)
_MORE_ROOM, _RIGHTS = "make room", "give a place where this user may write"
ADVICE = {
    errno.ENOSPC: _MORE_ROOM,
    getattr(errno, "EDQUOT", -1): _MORE_ROOM,
    errno.EFBIG: "allow larger files (ulimit -f)",
    errno.EROFS: _RIGHTS,
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.ENOENT: "it, or its folder, was removed or never there",
    errno.EMFILE: "allow more open files (ulimit -n)",
    errno.EAGAIN: "allow more processes (ulimit -u), or end others",
}
_OF_RUNTIME = {  # what torch and Python raise as a RuntimeError, by a part of its message
    "Could not determine home directory": "a path begins with ~, and there is no such user's home: write it out",
    "DataLoader worker (pid": "a process that loads data was ended by the system, perhaps since memory ran out: use a "
    f"smaller num_worker_per_gpu; {STAYS}",
    "received 0 items of ancdata": f"too many files are open: {ADVICE[errno.EMFILE]}; {STAYS}",
    "can't start new thread": f"no further thread could be started: {ADVICE[errno.EAGAIN]}; {STAYS}",
    "unable to write to file </torch_": f"/dev/shm is full: {_MORE_ROOM}, or fewer num_worker_per_gpu; {STAYS}",
}


def machine_sentence(error: BaseException) -> str | None:
    """Return what the machine has refused, as a sentence; None for any other error."""
    if is_out_of_memory(error):
        return MEMORY
    if isinstance(error, BrokenPipeError):
        return "what reads the output has ended"
    if isinstance(error, OSError) and error.errno is not None and not isinstance(error, ConnectionError):
        what = "what is printed" if error.filename is None else os.fsdecode(error.filename)
        advice = f": {ADVICE[error.errno]}" if error.errno in ADVICE else ""
        return f"{what}: cannot be written or read: {error.strerror}{advice}; {STAYS}"
    if isinstance(error, RuntimeError):
        return next((sentence for part, sentence in _OF_RUNTIME.items() if part in str(error)), None)
    return None


def sentence_and_status(error: Exception) -> tuple[str | None, int]:
    """Return what to say of an error in place of a traceback (None for a fault of ours), and the exit status."""
    if isinstance(error, TimError):
        return str(error), 2
    if isinstance(error, (NonFiniteError, MachineError)):
        return str(error), 1
    return machine_sentence(error), 1


def drop_output() -> None:
    """Let what waits to be printed go where it cannot be written, so that Python does not fail at it once more."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
