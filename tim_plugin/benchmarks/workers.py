"""Processes that a benchmark starts once and then tells what to run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection

import torch
from torch import multiprocessing

Functions = Mapping[str, Callable[[], object]]
Make = Callable[[], Functions]  # run in the process; must be fit for pickle


@contextmanager
def workers(makes: Sequence[Make], threads: int) -> Iterator[list[Connection]]:
    """Start a process for each of ``makes``, with so many threads; they end with the context.

    Args:
        makes: What each process can do, by name.
        threads: Of each process.
    """
    context = multiprocessing.get_context("spawn")
    started, ends = [], []
    for make in makes:
        end, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs, make, threads), daemon=True)
        process.start()
        theirs.close()  # so that the end of a process is seen
        started.append(process)
        ends.append(end)
    try:
        yield ends
    finally:
        for end in ends:
            end.close()
        for process in started:
            process.join()


def together(ends: Sequence[Connection], names: Sequence[str]) -> None:
    """Let each process run what is named, all at once, and wait for all.

    Raises:
        EOFError: A process has ended.
    """
    for end, name in zip(ends, names, strict=True):
        end.send(name)
    for end in ends:
        end.recv()


def _work(end: Connection, make: Make, threads: int) -> None:
    torch.set_num_threads(threads)
    functions = make()
    try:
        while True:
            functions[end.recv()]()
            end.send(None)
    except EOFError:
        pass  # the benchmark is over
