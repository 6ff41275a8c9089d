"""Worker processes that make data: one thread each, and safe to start from a process that has used OpenCV."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from multiprocessing.pool import Pool
from multiprocessing.synchronize import Event
from typing import TypeVar

import cv2
import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from tim_plugin.utils.children import context_of_children, leave_signals
from tim_plugin.utils.errors import MachineError

Task = TypeVar("Task")
Outcome = TypeVar("Outcome")


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


_is_over: Event | None = None  # of this worker: whether what is left of the work is wanted no more


def start_worker(is_over: Event) -> None:
    """Set a worker process up: one thread, and signals left to the main process, which says when all is over."""
    global _is_over
    _is_over = is_over
    leave_signals()
    torch.set_num_threads(1)  # a process for each core is enough


def leave_signals_in(loader: DataLoader) -> None:
    """Let the workers of a data loader, if it has some, leave Ctrl-C and SIGTERM to the main process."""
    if loader.num_workers > 0:
        loader.multiprocessing_context = context_of_children()
        loader.worker_init_fn = partial(_start_loader, loader.worker_init_fn)


def _start_loader(seed: Callable[[int], None] | None, index: int) -> None:
    """Set a data loader's worker up, which ``seed`` seeds by its index; torch has given it one thread."""
    leave_signals()
    if seed is not None:
        seed(index)


@contextmanager
def worker_pool(workers: int) -> Iterator[Pool]:
    """A pool of such processes, which end with it; after an error too they first finish what they are at.

    One that was ended by force while it hands on a result would keep the lock for that, and the pool wait for ever.

    Args:
        workers: How many.
    """
    with single_threaded_opencv():
        context = context_of_children()
        is_over = context.Event()
        pool = context.Pool(workers, initializer=start_worker, initargs=(is_over,))
        try:
            yield pool
        except MachineError:  # a killed worker's task would be waited for
            pool.terminate()
            raise
        finally:
            is_over.set()
            pool.close()
            pool.join()


def track(make: Callable[[Task], Outcome], tasks: Sequence[Task], workers: int, together: int = 1) -> list[Outcome]:
    """Return ``make(task)`` for each task, in order, with a progress bar on standard output.

    Args:
        make: Called in the worker processes, so it and the tasks must be picklable.
        tasks: May be empty; then there is no bar.
        workers: Processes, 1 or more; with 1 everything runs in this one.
        together: Tasks that are handed to a worker at once.
    """
    if not tasks:
        return []
    if workers == 1:
        return list(_with_bar(map(make, tasks), len(tasks)))
    with worker_pool(workers) as pool:
        return list(_with_bar(results(pool, make, tasks, together), len(tasks)))


def results(pool: Pool, make: Callable[[Task], Outcome], tasks: Sequence[Task], together: int = 1) -> Iterator[Outcome]:
    """Yield ``make(task)`` for each task, in order.

    Args:
        pool: Of :func:`worker_pool`.
        make: Called in the worker processes.
        tasks: Of all workers.
        together: Tasks that are handed to a worker at once.

    Raises:
        MachineError: A worker was killed; its tasks are lost, and the pool would wait for them for ever.
    """
    parts = [tasks[start : start + together] for start in range(0, len(tasks), together)]
    workers, waiting = list(pool._pool), pool.imap(partial(_all, make), parts)
    while True:
        try:
            yield from waiting.next(timeout=1.0)
        except StopIteration:
            return
        except multiprocessing.TimeoutError:
            if any(worker.exitcode is not None for worker in workers):
                raise MachineError(
                    "a worker process was ended by the system, perhaps since memory ran out: use fewer --workers; what "
                    "was written stays: give the same command again"
                ) from None


def _all(make: Callable[[Task], Outcome], tasks: Sequence[Task]) -> list[Outcome]:
    return [make(task) for task in tasks if not _is_over.is_set()]


def _with_bar(outcomes: Iterable[Outcome], total: int) -> Iterable[Outcome]:
    return tqdm(outcomes, total=total, file=sys.stdout)
