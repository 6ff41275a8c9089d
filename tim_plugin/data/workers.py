"""Worker processes that make data: one thread each, and safe to start from a process that has used OpenCV."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import torch


@contextmanager
def single_threaded_opencv() -> Iterator[None]:
    """Let OpenCV use one thread while workers are started and run, and as many as before afterwards.

    A forked worker inherits OpenCV's thread pool without its threads, and would wait forever for whatever it asks of
    the pool, even to end it. So the pool is ended before the fork.
    """
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def start_worker() -> None:
    """Set a worker process up: one thread, and Ctrl-C left to the main process."""
    torch.set_num_threads(1)  # a process for each core is enough
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the main process, which ends its workers
