"""Memory that a network's layers free is kept for the next ones, in place of being given back to the system."""

from __future__ import annotations

import ctypes
import os
import platform

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of mallopt, in malloc.h
KEPT_BYTES = 2**28  # that a tensor may have for its memory to be kept, and that may lie unused at the heap's end
SETTINGS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES")


def keep_freed_memory() -> bool:
    """Let GNU's C library keep freed memory, for this process and as long as it lives; return whether it does so now.

    As it comes, it maps each large tensor anew and gives it back when it is freed: the system then clears each page of
    each layer's result, up to two fifths of the time in which a small tower samples. The largest size of the process
    stays about the same; what was freed is not given back.

    With another C library, or where the user has set its allocator by the environment (``MALLOC_TRIM_THRESHOLD_``,
    ``MALLOC_MMAP_THRESHOLD_``, ``MALLOC_TOP_PAD_``, ``GLIBC_TUNABLES``), nothing is changed.
    """
    if platform.libc_ver()[0] != "glibc" or any(name in os.environ for name in SETTINGS):
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all([mallopt(option, KEPT_BYTES) == 1 for option in (MMAP_THRESHOLD, TRIM_THRESHOLD)])
