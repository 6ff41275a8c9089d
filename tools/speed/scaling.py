"""Several processes: two with half the cores each against one with all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from tempfile import TemporaryDirectory

import torch
from torch import distributed, multiprocessing

from speed.settings import SETTINGS, Setting
from speed.steps import model_of
from speed.timing import Comparison, compare
from tim_plugin.archs.tower_arch import TowerGenerator
from tim_plugin.utils.errors import TimError

REACH = 0.8


def benchmark_scaling(name: str, repeats: int = 5, device: str = "cpu") -> list[Comparison]:
    """Time steps on the same number of examples: one process with all threads, two with half of them and half each.

    Args:
        name: A key of :data:`speed.settings.SETTINGS`.
        repeats: Pairs that are timed.
        device: ``cpu``.

    Raises:
        TimError: Another device, or one thread only.
    """
    threads, setting = torch.get_num_threads(), SETTINGS[name]
    if device != "cpu":
        raise TimError(f"--device {device}: scaling is measured on the cores of a CPU: use cpu")
    if threads < 2:
        raise TimError(
            "scaling divides the threads over two processes, and there is one: set OMP_NUM_THREADS=2 or more"
        )
    batch = 2 * setting.examples
    parameters = sum(p.numel() for p in TowerGenerator(**setting.network).parameters())
    with ExitStack() as running:
        one, two = (running.enter_context(_workers(setting, batch, count, threads)) for count in (1, 2))
        found = compare(
            "scaling",
            f"{name}, {parameters / 1e6:.2f} M parameters, {batch} examples a step",
            (f"1 process, {threads} threads", lambda: _step(one)),
            (f"2 processes, {threads // 2} threads each", lambda: _step(two)),
            repeats,
            bound=(REACH, "to reach"),
            counts={"gradient bytes a step": 4 * parameters},
        )
    return [found]


@contextmanager
def _workers(setting: Setting, batch: int, count: int, threads: int) -> Iterator[list[Connection]]:
    """Start processes that take a step each time they are told to."""
    context, ends = multiprocessing.get_context("spawn"), []
    with TemporaryDirectory() as folder:
        started = []
        for rank in range(count):
            end, theirs = context.Pipe()
            arguments = (theirs, setting, batch // count, rank, count, threads // count, os.path.join(folder, "meet"))
            process = context.Process(target=_work, args=arguments, daemon=True)
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


def _step(ends: list[Connection]) -> None:
    for end in ends:
        end.send(None)
    for end in ends:
        end.recv()


def _work(end: Connection, setting: Setting, batch: int, rank: int, count: int, threads: int, meet: str) -> None:
    torch.set_num_threads(threads)
    if count > 1:
        distributed.init_process_group("gloo", init_method=f"file://{meet}", rank=rank, world_size=count)
    model = model_of(setting, batch, rank=rank, processes=count)
    iteration = 0
    try:
        while True:
            end.recv()
            iteration += 1
            model.optimize_parameters(iteration)
            end.send(None)
    except EOFError:
        pass  # the benchmark is over
    if count > 1:
        distributed.destroy_process_group()
