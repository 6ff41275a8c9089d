"""The search: ours against one that runs every candidate through all lower levels, and ours with each option."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import torch

from speed.counting import Counter
from speed.naive import naive_hierarchical
from speed.picks import same_picks
from speed.problem import Problem, problem_of
from speed.search_option_rows import OPTIONS, benchmark_option
from speed.settings import SETTINGS, Setting
from speed.sharing import (
    TOGETHER,
    benchmark_combined,
    benchmark_search_batch,
    benchmark_target_features,
)
from speed.timing import Comparison, compare, seconds
from tim_plugin.archs.tower_arch import TowerGenerator
from tim_plugin.imle.latents import Latents
from tim_plugin.imle.search import Selection, hierarchical
from tim_plugin.imle.types import coarsest
from tim_plugin.losses.distance import PerceptualDistance
from tim_plugin.options.plain_checks import require_number
from tim_plugin.utils.trees import tile

PAPER_CANDIDATES = 120  # a level; many for a CPU
SEVERAL = {"search_batch": benchmark_search_batch}
ON_GPUS = {  # without the units of one, half precision is imitated, and what compiles takes minutes
    "combined": benchmark_combined,
    "combined_compiled": partial(benchmark_combined, compiled=True),
}
ROWS = (*OPTIONS, "target_features", *SEVERAL, *ON_GPUS)

Search = Callable[..., Selection]


def rows_of(device: str) -> list[str]:
    """Return the options that are measured on ``cpu`` or ``cuda`` where none are named."""
    return [row for row in ROWS if device != "cpu" or row not in ON_GPUS]


def benchmark_selection(
    name: str,
    repeats: int = 5,
    device: str = "cpu",
    options: Sequence[str] | None = None,
    candidates: int | None = None,
) -> list[Comparison]:
    """Time the naive search and ours on the same network, examples and candidates, then ours with each option.

    The bound is what running no lower level again can give at most: the naive search's level evaluations over ours,
    each weighed by the measured time of its level. Ours can pass it, because it also computes each weight-normalised
    weight once a search and each target's features once.

    Args:
        name: A key of :data:`speed.settings.SETTINGS`.
        repeats: Pairs that are timed.
        device: ``cpu`` or ``cuda``.
        options: Of :data:`ROWS`; None: those of :func:`rows_of`.
        candidates: A level; None: the setting's. The bound does not depend on their number, the time does.

    Raises:
        TimError: ``candidates`` below 1.
    """
    setting = SETTINGS[name]
    if candidates is not None:
        require_number("--candidates", candidates, int, minimum=1)
        setting = replace(setting, candidates=candidates)
    rows = rows_of(device) if options is None else options
    torch.manual_seed(0)
    tower = TowerGenerator(**setting.network).to(device).eval()
    distance = PerceptualDistance(backbone="squeezenet1_1", weights="random", calibration="none").to(device)
    problem = problem_of(tower, distance, setting, device)
    return [
        _against_naive(name, setting, problem, repeats, device),
        *(_row(row, name, setting, problem, repeats, device) for row in rows),
    ]


def _row(row: str, name: str, setting: Setting, problem: Problem, repeats: int, device: str) -> Comparison:
    if row in OPTIONS:
        return benchmark_option(name, row, setting, problem, repeats, device)
    if row == "target_features":
        return benchmark_target_features(name, setting, problem, repeats, device)
    several = replace(setting, examples=TOGETHER)
    if row in ON_GPUS and device != "cpu":
        several = replace(several, candidates=PAPER_CANDIDATES)
    more = problem_of(problem.tower, problem.distance, several, device)
    return (SEVERAL | ON_GPUS)[row](name, several, more, repeats, device)


def _against_naive(name: str, setting: Setting, problem: Problem, repeats: int, device: str) -> Comparison:
    tower = problem.tower
    candidates = [setting.candidates] * tower.spec.num_levels

    def search(function: Search, measured: Counter | None = None) -> Selection:
        used = problem if measured is None else problem._replace(tower=measured, distance=measured)
        return function(*used, candidates, torch.Generator(device).manual_seed(0), setting.at_once)

    counters = [Counter(*problem[:2], problem.targets) for _ in range(2)]
    naive, ours = (
        search(one, counter) for one, counter in zip((naive_hierarchical, hierarchical), counters, strict=True)
    )
    costs = _level_costs(problem, setting, repeats, device)
    naive_cost, unique_cost = (
        sum(n * cost for n, cost in zip(counter.evaluations, costs, strict=True)) for counter in counters
    )
    parameters = sum(p.numel() for p in tower.parameters()) / 1e6
    counts = {
        f"{side}, {what}": value
        for side, counter in zip(("naive", "ours"), counters, strict=True)
        for what, value in (("level evaluations", counter.evaluations), ("target passes", counter.target_passes))
    }
    return compare(
        "selection",
        f"{name}, {parameters:.2f} M parameters, {setting.examples} example(s), {setting.candidates} a level",
        ("naive", lambda: search(naive_hierarchical)),
        ("ours", lambda: search(hierarchical)),
        repeats,
        device,
        bound=(naive_cost / unique_cost, "level evaluations alone give"),
        counts=counts,
        checks={"same picks": same_picks(naive, ours)},
    )


@torch.no_grad()
def _level_costs(problem: Problem, setting: Setting, repeats: int, device: str) -> list[float]:
    """Median seconds of each level's module for one item, in the search's own chunks."""
    tower, conditions, times = problem.tower, problem.conditions, setting.at_once // setting.examples
    generator = torch.Generator(device).manual_seed(0)
    latents = Latents.draw(tower.latent_shapes(*coarsest(conditions).shape[-2:]), times * setting.examples, generator)
    costs: list[list[float]] = [[] for _ in latents]
    for _ in range(repeats):
        state = None
        for level, latent in enumerate(latents):
            condition = tile(conditions[level], times)
            _, after = tower.forward_level(level, condition, latent, state)
            run = partial(tower.forward_level, level, condition, latent, state)
            costs[level].append(seconds(run, device) / len(latent.style))
            state = after
    return [statistics.median(level) for level in costs]
