"""What a search shares: target features over its chunks, runs over several examples; and all of it with all options."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from speed.counting import Counter
from speed.naive import naive_hierarchical
from speed.picks import picks, same_picks
from speed.problem import Problem
from speed.search_option_rows import QUALITY_SEEDS
from speed.settings import Setting
from speed.timing import Comparison, compare, seconds
from tim_plugin.imle.latents import Draw, Latents, LevelLatent, LevelShape, draw_level
from tim_plugin.imle.search import Selection, hierarchical
from tim_plugin.imle.search_runner import SearchPlan, SearchRunner
from tim_plugin.imle.types import DistanceLike, Features
from tim_plugin.utils.trees import take, tile

TOGETHER = 4  # examples
PEERS_AT_ONCE = 20  # candidates, as the method's public code runs them
REACH = 8.0
Search = Callable[[Problem, torch.Generator, Draw], Selection]


class FeaturesEachChunk:
    """A distance that computes a target's features anew whenever images are compared with it.

    Args:
        measure: The distance.
        targets: Of N examples, by level.
    """

    def __init__(self, measure: DistanceLike, targets: list[Tensor]) -> None:
        self.measure, self.targets = measure, targets

    def features(self, images: Tensor) -> Features:
        """Leave targets as they are; return the features of other images."""
        return images if any(images is target for target in self.targets) else self.measure.features(images)

    def distance(self, a: Features, b: Tensor) -> Tensor:
        """Return distances to targets that are repeated for the candidates of a chunk."""
        count = len(self.targets[0])
        return self.measure.distance(a, tile(self.measure.features(b[:count]), len(b) // count))


def benchmark_target_features(name: str, setting: Setting, problem: Problem, repeats: int, device: str) -> Comparison:
    """Time our search against itself with target features that are computed once a chunk instead of once.

    Args:
        name: Of the network, for people.
        setting: The network's.
        problem: What is searched.
        repeats: Pairs that are timed.
        device: ``cpu`` or ``cuda``.
    """

    def each_chunk(one: Problem) -> Selection:
        distance = FeaturesEachChunk(one.distance, list(one.targets))
        return together(_ours(setting.candidates, setting.at_once), one._replace(distance=distance))

    once = partial(together, _ours(setting.candidates, setting.at_once))
    counters, (plain, ours) = _counted(problem, each_chunk, once)
    return compare(
        "selection",
        f"{name}, target features in one pass",
        ("once a chunk", partial(each_chunk, problem)),
        ("once", partial(once, problem)),
        repeats,
        device,
        counts={
            f"{side}, passes through the whole trunk": counter.passes
            for side, counter in zip(("once a chunk", "once"), counters, strict=True)
        },
        checks={"same picks": same_picks(plain, ours), **picks([(plain, ours)])},
    )


def benchmark_search_batch(name: str, setting: Setting, problem: Problem, repeats: int, device: str) -> Comparison:
    """Time our search of several examples at once against one example at a time.

    Both search the same candidates. Each example has as many of them in a chunk in both ways, so that modules run on N
    times as many items at once.

    Arguments as for :func:`benchmark_target_features`.
    """
    count = problem.examples
    single = partial(one_by_one, _ours(setting.candidates, setting.at_once))
    batched = partial(together, _ours(setting.candidates, setting.at_once * count))
    counters, (plain, ours) = _counted(problem, single, batched)
    return compare(
        "selection",
        f"{name}, search_batch: {count}, {setting.candidates} a level",
        ("one at a time", partial(single, problem)),
        (f"{count} at once", partial(batched, problem)),
        repeats,
        device,
        counts=_counts(counters, ("one at a time", f"{count} at once")),
        checks={"same picks": same_picks(plain, ours), **picks([(plain, ours)])},
    )


def benchmark_combined(
    name: str, setting: Setting, problem: Problem, repeats: int, device: str, compiled: bool = False
) -> Comparison:
    """Time the naive search in single precision, one image at a time, against ours with all that keeps the picks.

    Both search the same candidates, each example's in chunks of :data:`PEERS_AT_ONCE`.

    Args:
        name: See :func:`benchmark_target_features`, likewise the next four.
        setting: The network's.
        problem: What is searched.
        repeats: Pairs that are timed.
        device: ``cpu`` or ``cuda``.
        compiled: Compile the levels too.
    """
    count, plan = problem.examples, SearchPlan(precision="bf16", channels_last=True, compiled=compiled)
    runner = SearchRunner(problem.tower, plan)
    naive = partial(one_by_one, _naive(setting.candidates, PEERS_AT_ONCE))
    all_options = partial(together, _ours(setting.candidates, PEERS_AT_ONCE * count, runner))
    first_s = seconds(partial(all_options, problem), device)
    # What is compiled cannot be counted; it runs the levels as often.
    countable = SearchPlan(precision="bf16", channels_last=True)
    counters, _ = _counted(
        problem,
        naive,
        lambda one: together(_ours(setting.candidates, PEERS_AT_ONCE * count, SearchRunner(one.tower, countable)), one),
    )
    options = f"bf16, channels_last, {count} examples at once{', compiled' if compiled else ''}"
    return compare(
        "selection",
        f"{name}, {count} examples, {setting.candidates} a level, all options",
        (f"naive, fp32, chunks of {PEERS_AT_ONCE}, one at a time", partial(naive, problem)),
        (f"ours, {options}", partial(all_options, problem)),
        repeats,
        device,
        bound=(REACH, "to reach with the published network on a GPU"),
        counts={"ours, first search, s": round(first_s, 3), **_counts(counters, ("naive", "ours"))},
        checks=picks([(naive(problem, seed=seed), all_options(problem, seed=seed)) for seed in QUALITY_SEEDS]),
    )


def together(search: Search, problem: Problem, seed: int = 0) -> Selection:
    """Search for all examples at once."""
    return search(problem, torch.Generator(problem.device).manual_seed(seed), draw_level)


def one_by_one(search: Search, problem: Problem, seed: int = 0) -> Selection:
    """Search for one example at a time, each among the candidates that :func:`together` draws for it."""
    found = [
        search(
            problem.only(index),
            torch.Generator(problem.device).manual_seed(seed),
            partial(_draw_for, index, problem.examples),
        )
        for index in range(problem.examples)
    ]
    return Selection(
        Latents.concatenate([one.latents for one in found]),
        torch.cat([one.distances for one in found]),
        tuple(map(sum, zip(*(one.evaluations for one in found), strict=True))),
    )


def _draw_for(index: int, examples: int, shape: LevelShape, _: int, generator: torch.Generator) -> LevelLatent:
    """Draw the latents of all examples and return those of one."""
    return take(draw_level(shape, examples, generator), slice(index, index + 1))


def _ours(candidates: int, at_once: int, runner: SearchRunner | None = None) -> Search:
    def search(problem: Problem, generator: torch.Generator, draw: Draw) -> Selection:
        used = runner or SearchRunner(problem.tower, draw=draw)
        return hierarchical(*problem, [candidates] * len(problem.targets), generator, at_once, runner=used)

    return search


def _naive(candidates: int, at_once: int) -> Search:
    def search(problem: Problem, generator: torch.Generator, draw: Draw) -> Selection:
        return naive_hierarchical(*problem, [candidates] * len(problem.targets), generator, at_once, draw)

    return search


def _counted(problem: Problem, *searches: Callable[[Problem], Selection]) -> tuple[list[Counter], list[Selection]]:
    counters = [Counter(problem.tower, problem.distance, problem.targets) for _ in searches]
    found = [
        search(problem._replace(tower=counter, distance=counter))
        for search, counter in zip(searches, counters, strict=True)
    ]
    return counters, found


def _counts(counters: list[Counter], sides: tuple[str, ...]) -> dict[str, Any]:
    return {
        f"{side}, {what}": amounts
        for side, counter in zip(sides, counters, strict=True)
        for what, amounts in (
            ("level evaluations", counter.evaluations),
            ("level calls", counter.calls),
            ("items at once", counter.at_once),
        )
    }
