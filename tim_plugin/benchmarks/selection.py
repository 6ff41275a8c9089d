"""The search: ours against one that runs every candidate through all lower levels, and ours with each option."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from tim_plugin.archs.tower_arch import TowerGenerator
from tim_plugin.benchmarks.counting import Counter
from tim_plugin.benchmarks.search_options import OPTIONS, benchmark_option
from tim_plugin.benchmarks.settings import SETTINGS, Setting
from tim_plugin.benchmarks.timing import Comparison, compare, seconds
from tim_plugin.data.pyramid import condition_pyramid, target_pyramid
from tim_plugin.degradations.base import Observed
from tim_plugin.imle.conditions import Condition, coarsest
from tim_plugin.imle.distance import PerceptualDistance
from tim_plugin.imle.latents import Latents, LevelLatent, draw_level
from tim_plugin.imle.selection import Distance, Selection, Tower, hierarchical
from tim_plugin.imle.trees import tile

SAME_PICK_TOLERANCE = 1e-3


Search = Callable[..., Selection]


@torch.no_grad()
def naive_hierarchical(
    tower: Tower,
    distance: Distance,
    conditions: Sequence[Condition],
    targets: Sequence[Tensor],
    num_candidates: Sequence[int],
    generator: torch.Generator,
    max_candidates_per_batch: int,
) -> Selection:
    """The search as the method's public code does it: each candidate runs all lower levels, targets anew each chunk.

    Arguments and picks are those of :func:`tim_plugin.imle.selection.hierarchical`.
    """
    batch, levels = len(targets[0]), len(targets)
    shapes = tower.latent_shapes(*coarsest(conditions).shape[-2:])
    chosen: list[LevelLatent] = []
    rows, evaluations = [], [0] * levels
    for level in range(levels):
        scores, codes = [], []
        step = max_candidates_per_batch // batch
        for start in range(0, num_candidates[level], step):
            drawn = [
                draw_level(shapes[level], batch, generator) for _ in range(min(step, num_candidates[level] - start))
            ]
            codes += drawn
            chunk = LevelLatent(*(torch.cat(parts) for parts in zip(*drawn, strict=True)))
            state = None
            for lower in range(level + 1):
                latent = chunk if lower == level else LevelLatent(*(tile(part, len(drawn)) for part in chosen[lower]))
                image, state = tower.forward_level(lower, tile(conditions[lower], len(drawn)), latent, state)
                evaluations[lower] += len(latent.style)
            target_features = tile(distance.features(targets[level]), len(drawn))
            scores.append(distance.distance(distance.features(image), target_features).view(len(drawn), batch))
        found, winner = torch.cat(scores).min(dim=0)  # (N,)
        items = range(batch)
        chosen.append(LevelLatent(*(torch.stack([codes[winner[i]][part][i] for i in items]) for part in range(2))))
        rows.append(found)
    return Selection(Latents(chosen), torch.stack(rows, dim=1), tuple(evaluations))


def benchmark_selection(
    name: str, repeats: int = 5, device: str = "cpu", options: Sequence[str] = tuple(OPTIONS)
) -> list[Comparison]:
    """Time the naive search and ours on the same network, examples and candidates, then ours with each option.

    The bound is what running no lower level again can give at most: the naive search's level evaluations over ours,
    each weighed by the measured time of its level. Ours can pass it, because it also computes each weight-normalised
    weight once a search and each target's features once.

    Args:
        name: A key of :data:`tim_plugin.benchmarks.settings.SETTINGS`.
        repeats: Pairs that are timed.
        device: ``cpu`` or ``cuda``.
        options: Keys of :data:`tim_plugin.benchmarks.search_options.OPTIONS`.
    """
    setting = SETTINGS[name]
    torch.manual_seed(0)
    tower = TowerGenerator(**setting.network).to(device).eval()
    distance = PerceptualDistance(backbone="squeezenet1_1", weights="random", calibration="none").to(device)
    conditions, targets = _problem(tower, setting, device)
    candidates = [setting.candidates] * tower.spec.num_levels

    def search(function: Search, measured: Any = None) -> Selection:
        network, measure = (measured, measured) if measured is not None else (tower, distance)
        generator = torch.Generator(device).manual_seed(0)
        return function(network, measure, conditions, targets, candidates, generator, setting.at_once)

    counters = [Counter(tower, distance, targets) for _ in range(2)]
    naive, ours = (
        search(one, counter) for one, counter in zip((naive_hierarchical, hierarchical), counters, strict=True)
    )
    costs = _level_costs(tower, conditions, setting, max(repeats, 1), device)
    naive_cost, unique_cost = (
        sum(n * cost for n, cost in zip(counter.evaluations, costs, strict=True)) for counter in counters
    )
    parameters = sum(p.numel() for p in tower.parameters()) / 1e6
    counts = {
        f"{side}, {what}": value
        for side, counter in zip(("naive", "ours"), counters, strict=True)
        for what, value in (("level evaluations", counter.evaluations), ("target passes", counter.target_passes))
    }
    found = compare(
        "selection",
        f"{name}, {parameters:.2f} M parameters, {setting.examples} example(s), {setting.candidates} a level",
        ("naive", lambda: search(naive_hierarchical)),
        ("ours", lambda: search(hierarchical)),
        repeats,
        device,
        bound=(naive_cost / unique_cost, "level evaluations alone give"),
        counts=counts,
        checks={"same picks": torch.allclose(naive.distances, ours.distances, rtol=SAME_PICK_TOLERANCE)},
    )
    problem = (tower, distance, conditions, targets)
    return [found, *(benchmark_option(name, option, setting, problem, repeats, device) for option in options)]


def _problem(tower: TowerGenerator, setting: Setting, device: str) -> tuple[list[Condition], list[Tensor]]:
    spec, generator = tower.spec, torch.Generator().manual_seed(0)
    gt = torch.rand(setting.examples, 3, *[setting.lq_px * spec.scale] * 2, generator=generator).to(device)
    lq = torch.rand(setting.examples, 3, setting.lq_px, setting.lq_px, generator=generator).to(device)
    conditions = condition_pyramid(Observed(lq), spec, tower.degradation)
    return conditions, target_pyramid(gt, spec.num_levels)


@torch.no_grad()
def _level_costs(
    tower: nn.Module, conditions: Sequence[Condition], setting: Setting, repeats: int, device: str
) -> list[float]:
    """Median seconds of each level's module for one item, in the search's own chunks."""
    times = setting.at_once // setting.examples
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
