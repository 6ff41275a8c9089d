"""The search's options: our search with each of them against our search without, on the same candidates."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from speed.counting import Counter
from speed.picks import picks
from speed.problem import Problem
from speed.settings import Setting
from speed.timing import Comparison, compare, seconds
from tim_plugin.imle.search import Selection, hierarchical
from tim_plugin.imle.search_runner import SearchPlan, SearchRunner

CHIMLE_SHARES = (200 / 120, 200 / 120, 20 / 120, 10 / 120)  # CHIMLE's published numbers over TIM's
QUALITY_SEEDS = range(1, 5)  # draws of candidates by which picks and distances are compared


@dataclass(frozen=True)
class Option:
    """How the options stand in an ``imle`` section, the plan that they make, and each level's share of candidates."""

    keys: str
    plan: SearchPlan = SearchPlan()
    shares: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)


OPTIONS = {
    "bf16": Option("search_precision: bf16", SearchPlan(precision="bf16")),
    "channels_last": Option("channels_last: true", SearchPlan(channels_last=True)),
    "compile": Option("search_compile: true", SearchPlan(compiled=True)),
    "memory": Option("search_memory_gib: 0.5", SearchPlan(memory_gib=0.5)),
    "chimle": Option("sampling: chimle", shares=CHIMLE_SHARES),
}


def benchmark_option(
    name: str,
    option: str,
    setting: Setting,
    problem: Problem,
    repeats: int,
    device: str,
) -> Comparison:
    """Time our search with an option and without, and compare what they pick.

    Args:
        name: Of the network, for people.
        option: A key of :data:`OPTIONS`.
        setting: The network's.
        problem: What is searched.
        repeats: Pairs that are timed.
        device: ``cpu`` or ``cuda``.
    """
    tower, distance, conditions, targets = problem
    chosen, plain_option = OPTIONS[option], Option("")
    runner = SearchRunner(tower, chosen.plan)

    def search(one: Option, used: SearchRunner, measure: Any = distance, seed: int = 0) -> Selection:
        generator = torch.Generator(device).manual_seed(seed)
        candidates = [max(1, round(setting.candidates * share)) for share in one.shares]
        return hierarchical(tower, measure, conditions, targets, candidates, generator, setting.at_once, runner=used)

    first_s = seconds(partial(search, chosen, runner), device)
    counts: dict[str, Any] = {"first search of the option, s": round(first_s, 3)} if chosen.plan.compiled else {}
    for side, one in (("without", plain_option), ("with", chosen)):
        counter = Counter(tower, distance, targets)
        # What is compiled cannot be counted; it runs the levels as often.
        plan = SearchPlan() if one.plan.compiled else one.plan
        search(one, SearchRunner(counter, plan), counter)
        counts[f"{side}, level evaluations"] = counter.evaluations
        counts[f"{side}, passes through the whole trunk"] = counter.passes
        if plan.memory_gib is not None:
            counts[f"{side}, items at once"] = counter.at_once
    pairs = [(search(plain_option, SearchRunner(tower), seed=s), search(chosen, runner, seed=s)) for s in QUALITY_SEEDS]
    return compare(
        "selection",
        f"{name}, {chosen.keys}",
        ("without", partial(search, plain_option, SearchRunner(tower))),
        ("with", partial(search, chosen, runner)),
        repeats,
        device,
        counts=counts,
        checks=picks(pairs),
    )
