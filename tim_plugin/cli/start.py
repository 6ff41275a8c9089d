"""What a command does before it loads torch: threads that sleep while they wait, and Ctrl-C without a traceback."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")


@contextmanager
def starting() -> Iterator[None]:
    """Load torch and what else a command needs in here.

    OpenMP reads once, as it is loaded, how its threads wait for each other. As they come, they spin: where other
    processes use the cores, each of a network's thousands of short loops then waits for a thread that a spinning one
    keeps from its core. Asleep they cost little (:doc:`docs/speed.md </speed>` has both measured). What the user has
    set stays.

    Ctrl-C ends the process at once, in silence: there is nothing yet to be said or saved.
    """
    if not any(name in os.environ for name in WAITING):
        os.environ["OMP_WAIT_POLICY"] = "passive"
    is_python = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not is_python or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
