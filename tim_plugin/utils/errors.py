"""The exception for what a user can correct: an option, a file, a folder, a command line; and two related ones."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TimError(ValueError):
    """A user's mistake; the message alone says where it is, what is wrong and what would be right.

    The command line tools print the message without a traceback and leave with exit status 2. A loader's worker hands
    its errors on as new ones whose message is a traceback; only the last message of it is kept.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message.rsplit(f"{type(self).__name__}: ", 1)[-1].strip())


class MissingWeightsError(TimError):
    """A public file of trained weights is not there and could not be downloaded."""


class NonFiniteError(FloatingPointError):
    """A loss or a gradient became NaN or infinite; raised before the optimizer touches the weights."""


class MachineError(RuntimeError):
    """The machine refused what was right to ask for: a disk is full, a process was ended; exit status 1."""


_NO_MEMORY = (  # torch's CPU allocator (Linux, Windows), CUDA and its libraries, C++, OpenCV, the system
    "DefaultCPUAllocator",
    "not enough memory",
    "out of memory",
    "ALLOC_FAILED",
    "bad_alloc",
    "Insufficient memory",
    "Cannot allocate memory",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error means that memory ran out; most libraries have no class of their own for it."""
    if isinstance(error, TimError):
        return False
    named = any(one.__name__ in ("MemoryError", "OutOfMemoryError") for one in type(error).__mro__)
    return named or any(part in str(error) for part in _NO_MEMORY)


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """Return a phrase for an error message: up to two valid names that resemble ``name``, or all where none does.

    Those that begin with it, two letters or more, are what it was to be.
    """
    valid = sorted(valid)
    near = [one for one in valid if len(name) > 1 and one.startswith(name)][:2]
    near = near or difflib.get_close_matches(name, valid, n=2, cutoff=0.6)
    return f"did you mean {' or '.join(map(repr, near))}?" if near else f"valid: {', '.join(valid)}"
