"""Who computes: one session at a time, some answers each, so that all go on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

ONE_THREAD_PIXELS = 2**16  # a smaller picture's convolutions wait for each other longer than they compute
_COMPUTING = threading.Lock()


@contextmanager
def computing(pixels: int) -> Iterator[None]:
    """Compute in here, alone, by as many threads as an answer of so many pixels is worth."""
    with _COMPUTING:
        threads = torch.get_num_threads()
        torch.set_num_threads(1 if pixels <= ONE_THREAD_PIXELS else threads)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
