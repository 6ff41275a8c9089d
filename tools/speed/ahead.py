"""Training whose next pool is searched by another process meanwhile, against training that searches by turns."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch

from speed.settings import SETTINGS
from speed.steps import model_of
from speed.timing import Comparison, compare
from tim_plugin.utils.errors import TimError

POOL_BATCHES = 2
REUSE = 4


def benchmark_ahead(name: str, repeats: int = 5, device: str = "cpu") -> list[Comparison]:
    """Time a pool's search and the steps on it, with ``imle: search_ahead`` and without.

    Args:
        name: A key of :data:`speed.settings.SETTINGS`.
        repeats: Pairs that are timed.
        device: ``cpu`` or ``cuda``.

    Raises:
        TimError: One thread only, on a CPU.
    """
    threads, setting = torch.get_num_threads(), SETTINGS[name]
    if device == "cpu" and threads < 2:
        raise TimError("ahead divides the threads over two processes, and there is one: set OMP_NUM_THREADS=2 or more")
    imle = {
        "samples_per_level": setting.candidates,
        "pool_size": POOL_BATCHES * setting.examples,
        "reuse": REUSE,
        "search_batch": setting.examples,
        "max_candidates_per_batch": setting.at_once,
    }
    plain, ahead = (
        model_of(setting, setting.examples, device, imle={**imle, "search_ahead": one}) for one in (False, True)
    )
    runs = [partial(one_pool, model, threads, itertools.count(1)) for model in (plain, ahead)]
    for run in [*runs, *runs, *runs]:
        run()  # the first pool is smaller, and the second is full too soon
    found = compare(
        "training, search ahead",
        f"{name}, {imle['pool_size']} examples a pool, {setting.candidates} a level, each used {REUSE} times",
        (f"by turns, {threads} threads", runs[0]),
        (f"ahead, {threads - threads // 2} and {threads // 2} threads", runs[1]),
        repeats,
        device,
        counts={"age of the search, steps": ahead.search_age, "steps a pool": POOL_BATCHES * REUSE},
    )
    torch.set_num_threads(threads)
    return [found]


def one_pool(model: Any, threads: int, iterations: Iterator[int]) -> None:
    """Take steps until a pool is used up, and wait for what is searched ahead; it begins with all threads."""
    torch.set_num_threads(threads)
    model.optimize_parameters(next(iterations))
    while model.pool.order:
        model.optimize_parameters(next(iterations))
    model.own_state()  # waits
