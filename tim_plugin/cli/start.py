"""What a command does before it loads torch: how threads wait and memory is kept, and Ctrl-C without a traceback."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tim_plugin.utils.allocator import keep_freed_memory

WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")
# About 0.2 ms of GNU's OpenMP, whose own 300,000 are 13 ms, and 1 ms of Intel's and LLVM's, whose own are 200: long
# enough for the next short loop of a network to find its threads awake.
SHORT = {"GOMP_SPINCOUNT": "5000", "KMP_BLOCKTIME": "1"}


@contextmanager
def starting() -> Iterator[None]:
    """Load torch and what else a command needs in here.

    OpenMP reads once, as it is loaded, how long its threads spin before they sleep while they wait for each other.
    Where other processes use the cores, each of a network's thousands of short loops waits for a thread that spinning
    ones keep from its core. So they are to spin for a short time only (docs/speed.md has it measured); what the user
    has set stays. Memory that is freed is kept (:mod:`tim_plugin.utils.allocator`).

    Ctrl-C ends the process at once, in silence: there is nothing yet to be said or saved.
    """
    if not any(name in os.environ for name in WAITING):
        os.environ.update(SHORT)
    keep_freed_memory()
    is_python = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not is_python or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
