"""Benchmarks: two ways of doing the same thing, alternated in one process, and the counts that explain the ratio."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tim_plugin.archs.tower_arch import TowerGenerator
from tim_plugin.data.pyramid import condition_pyramid, target_pyramid
from tim_plugin.degradations.base import Observed
from tim_plugin.errors import TimError
from tim_plugin.imle.conditions import Condition, coarsest
from tim_plugin.imle.distance import PerceptualDistance
from tim_plugin.imle.latents import Latents, LevelLatent, draw_level
from tim_plugin.imle.selection import Distance, Selection, Tower, hierarchical
from tim_plugin.imle.trees import tile

SAME_PICK_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Setting:
    """A network and a search to time: arguments of the tower, side of the LQ, candidates a level, items at once."""

    network: dict[str, Any]
    lq_px: int
    examples: int
    candidates: int
    at_once: int


SETTINGS = {
    "demo": Setting(
        {
            "trunk_channels": [32, 32, 24, 16],
            "growth_channels": [32, 24, 16, 12],
            "num_blocks": 2,
            "style_dim": 32,
            "mapping_width": 64,
            "mapping_layers": 3,
            "consistency": "project",
        },
        4,
        4,
        16,
        16,
    ),
    "mid": Setting(
        {
            "trunk_channels": [64, 32, 32, 32],
            "growth_channels": [64, 48, 32, 16],
            "num_blocks": 3,
            "style_dim": 64,
            "mapping_width": 128,
            "mapping_layers": 4,
            "consistency": "project",
        },
        8,
        1,
        16,
        4,
    ),
}


@dataclass(frozen=True)
class SelectionResult:
    """One setting's figures. Times are medians in seconds; a ratio is the median over the pairs, with their extremes.

    ``bound`` is what running no lower level again can give at most: the naive search's level evaluations over ours,
    each weighed by the measured time of its level. Ours can pass it, because it also computes each weight-normalised
    weight once a search and each target's features once.
    """

    setting: str
    parameters: int
    candidates: int
    examples: int
    naive_seconds: float
    ours_seconds: float
    ratio: float
    ratio_range: tuple[float, float]
    bound: float
    naive_evaluations: tuple[int, ...]
    ours_evaluations: tuple[int, ...]
    naive_target_passes: int
    ours_target_passes: int
    same_picks: bool


class _Counter:
    """Counts a tower's level evaluations (items) and the passes of targets through the distance."""

    def __init__(self, tower: Tower, distance: Distance, targets: Sequence[Tensor]) -> None:
        self.tower, self.measure, self.targets = tower, distance, targets
        self.evaluations = [0] * len(targets)
        self.target_passes = 0

    def latent_shapes(self, height: int, width: int) -> Any:
        return self.tower.latent_shapes(height, width)

    def forward_level(self, level: int, condition: Condition, latent: LevelLatent, state: Any = None) -> Any:
        self.evaluations[level] += len(latent.style)
        return self.tower.forward_level(level, condition, latent, state)

    def features(self, images: Tensor) -> list[Tensor]:
        self.target_passes += any(images is target for target in self.targets)
        return self.measure.features(images)

    def distance(self, a: list[Tensor], b: list[Tensor]) -> Tensor:
        return self.measure.distance(a, b)


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


def benchmark_selection(name: str, repeats: int = 5, device: str = "cpu") -> SelectionResult:
    """Time the naive search and ours on the same network, examples and candidates, in turn.

    Args:
        name: A key of :data:`SETTINGS`.
        repeats: Pairs that are timed, after one that is not.
        device: ``cpu`` or ``cuda``.

    Raises:
        TimError: ``repeats`` is less than 1.
    """
    if repeats < 1:
        raise TimError(f"--repeats {repeats}: must be at least 1")
    setting = SETTINGS[name]
    torch.manual_seed(0)
    tower = TowerGenerator(**setting.network).to(device).eval()
    distance = PerceptualDistance(backbone="squeezenet1_1", weights="random", calibration="none").to(device)
    conditions, targets = _problem(tower, setting, device)
    candidates = [setting.candidates] * tower.spec.num_levels

    def once(search: Search, measured: Any = None) -> tuple[float, Selection]:
        network, measure = (measured, measured) if measured is not None else (tower, distance)
        generator = torch.Generator(device).manual_seed(0)
        _wait(device)
        started = time.perf_counter()
        found = search(network, measure, conditions, targets, candidates, generator, setting.at_once)
        _wait(device)
        return time.perf_counter() - started, found

    counters = [_Counter(tower, distance, targets) for _ in range(2)]
    naive, ours = (
        once(search, counter)[1] for search, counter in zip((naive_hierarchical, hierarchical), counters, strict=True)
    )
    times = [(once(naive_hierarchical)[0], once(hierarchical)[0]) for _ in range(repeats)]
    ratios = [a / b for a, b in times]
    costs = _level_costs(tower, conditions, setting, repeats, device)
    naive_cost, unique_cost = (
        sum(n * cost for n, cost in zip(counter.evaluations, costs, strict=True)) for counter in counters
    )
    return SelectionResult(
        name,
        sum(p.numel() for p in tower.parameters()),
        setting.candidates,
        setting.examples,
        statistics.median(a for a, _ in times),
        statistics.median(b for _, b in times),
        statistics.median(ratios),
        (min(ratios), max(ratios)),
        naive_cost / unique_cost,
        tuple(counters[0].evaluations),
        tuple(counters[1].evaluations),
        counters[0].target_passes,
        counters[1].target_passes,
        torch.allclose(naive.distances, ours.distances, rtol=SAME_PICK_TOLERANCE),
    )


def _problem(tower: TowerGenerator, setting: Setting, device: str) -> tuple[list[Tensor | None], list[Tensor]]:
    spec, generator = tower.spec, torch.Generator().manual_seed(0)
    gt = torch.rand(setting.examples, 3, *[setting.lq_px * spec.scale] * 2, generator=generator).to(device)
    lq = torch.rand(setting.examples, 3, setting.lq_px, setting.lq_px, generator=generator).to(device)
    conditions = condition_pyramid(Observed(lq), spec, tower.degradation)
    return conditions, target_pyramid(gt, spec.num_levels)


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


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
            started = time.perf_counter()
            _, state = tower.forward_level(level, tile(conditions[level], times), latent, state)
            _wait(device)
            costs[level].append((time.perf_counter() - started) / len(latent.style))
    return [statistics.median(level) for level in costs]


def selection_table(results: Sequence[SelectionResult]) -> str:
    """Return a table for people."""
    return "\n".join(_described(result) for result in results)


def _described(r: SelectionResult) -> str:
    size = f"{r.parameters / 1e6:.2f} M parameters, {r.examples} example(s), {r.candidates} candidates a level"
    sides = (
        ("naive", r.naive_seconds, r.naive_evaluations, r.naive_target_passes),
        ("ours", r.ours_seconds, r.ours_evaluations, r.ours_target_passes),
    )
    rows = [
        f"  {side:<6}{seconds:8.3f} s   level evaluations {evaluations}, target passes {passes}"
        for side, seconds, evaluations, passes in sides
    ]
    low, high = r.ratio_range
    picks = "same picks" if r.same_picks else "DIFFERENT PICKS"
    rows.append(
        f"  ratio {r.ratio:8.2f}     {low:.2f} to {high:.2f}; level evaluations alone give {r.bound:.2f}; {picks}"
    )
    return "\n".join([f"{r.setting}: {size}", *rows])


def as_json(results: Sequence[SelectionResult]) -> dict[str, Any]:
    """Return the results with what they were measured on."""
    return {"torch": torch.__version__, "threads": torch.get_num_threads(), "results": [asdict(r) for r in results]}
