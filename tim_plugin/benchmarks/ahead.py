"""Whether searching the next pool beside the training on this one would pay: the most it could gain, measured.

By turns, one process with all threads searches a pool and then trains on it; beside each other, one process searches
while another trains, with half the threads each. Nothing is handed over between the two, neither weights nor codes, so
that the ratio is what such a search ahead could gain at most.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

import torch

from tim_plugin.archs.tower_arch import TowerGenerator
from tim_plugin.benchmarks.selection import problem_of
from tim_plugin.benchmarks.settings import SETTINGS
from tim_plugin.benchmarks.steps import model_of
from tim_plugin.benchmarks.timing import Comparison, compare
from tim_plugin.benchmarks.workers import Functions, together, workers
from tim_plugin.errors import TimError
from tim_plugin.imle.distance import PerceptualDistance
from tim_plugin.imle.selection import hierarchical

POOL_BATCHES = 2  # of a pool, each of the setting's number of examples
REUSE = 4  # times that each example is trained on
SEARCH, TRAIN, BOTH = "search", "train", "both"


def benchmark_ahead(name: str, repeats: int = 5, device: str = "cpu") -> list[Comparison]:
    """Time a pool's search and the steps on it: by turns, and beside each other.

    Args:
        name: A key of :data:`tim_plugin.benchmarks.settings.SETTINGS`.
        repeats: Pairs that are timed.
        device: ``cpu``.

    Raises:
        TimError: Another device, or one thread only.
    """
    threads, setting = torch.get_num_threads(), SETTINGS[name]
    if device != "cpu":
        raise TimError(f"--device {device}: ahead is measured on the cores of a CPU: use cpu")
    if threads < 2:
        raise TimError("ahead divides the threads over two processes, and there is one: set OMP_NUM_THREADS=2 or more")
    with ExitStack() as running:
        one, two = (
            running.enter_context(workers([partial(_functions, name)] * count, threads // count)) for count in (1, 2)
        )
        found = compare(
            "search ahead, the most it could gain",
            f"{name}, {POOL_BATCHES * setting.examples} examples, {setting.candidates} a level, "
            f"{POOL_BATCHES * REUSE} steps",
            (f"by turns, {threads} threads", lambda: together(one, [BOTH])),
            (f"beside each other, {threads // 2} threads each", lambda: together(two, [SEARCH, TRAIN])),
            repeats,
        )
    return [found]


def _functions(name: str) -> Functions:
    """What a process can do: search a pool, train on one, or both by turns."""
    setting = SETTINGS[name]
    torch.manual_seed(0)
    tower = TowerGenerator(**setting.network).eval()
    distance = PerceptualDistance(backbone="squeezenet1_1", weights="random", calibration="none")
    conditions, targets = problem_of(tower, setting, "cpu")
    candidates = [setting.candidates] * tower.spec.num_levels
    model = model_of(setting, setting.examples)

    def search() -> None:
        for batch in range(POOL_BATCHES):
            generator = torch.Generator().manual_seed(batch)
            hierarchical(tower, distance, conditions, targets, candidates, generator, setting.at_once)

    def train() -> None:
        for step in range(POOL_BATCHES * REUSE):
            model.optimize_parameters(step + 1)

    def both() -> None:
        search()
        train()

    return {SEARCH: search, TRAIN: train, BOTH: both}
