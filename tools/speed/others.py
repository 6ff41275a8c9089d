"""Beside what a user would pick instead: spandrel's RRDBNet, and the search of the method's public code."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from paper.run_conditions import using_threads
from paper.sample_cost import multiplications
from speed.backend_speed import both_seconds, draw_samples, smooth
from speed.naive import naive_hierarchical
from speed.problem import Problem, problem_of
from speed.settings import SETTINGS
from speed.timing import Comparison, of_pairs, require_repeats
from tim_plugin.archs.tower_arch import TowerGenerator
from tim_plugin.degradations.base import Observed
from tim_plugin.imle.search import hierarchical
from tim_plugin.imle.search_runner import SearchPlan, SearchRunner
from tim_plugin.imle.types import DistanceLike
from tim_plugin.inference.arguments import Resources
from tim_plugin.inference.backends import Backends
from tim_plugin.inference.engines import installed
from tim_plugin.inference.towers import load
from tim_plugin.losses.distance import PerceptualDistance

TOWER, SIDE = "sr4x-small", 64  # a 4x enlargement, as RRDBNet's
RRDBNET = {"num_filters": 32, "num_blocks": 3, "scale": 4}  # multiplies 0.9 times as often
PROJECTED = 1000  # dimensions that the public code compares
SEARCHED = "demo"
SPANDREL_IS_MISSING = "others: spandrel is not installed, so its row is left out: pip install spandrel"


def benchmark_others(repeats: int = 5) -> list[Comparison]:
    """Time both by turns in one process, in processor time of one thread.

    Args:
        repeats: Pairs that are timed.
    """
    require_repeats(repeats)
    with using_threads(1):
        return [*_beside_spandrel(repeats), _beside_the_public_search(repeats)]


def _beside_spandrel(repeats: int) -> list[Comparison]:
    """Compare seconds for a thousand million multiplications, by torch and by each engine that is installed."""
    try:
        from spandrel import ModelLoader
        from spandrel.architectures.ESRGAN import ESRGAN
    except ImportError:
        print(SPANDREL_IS_MISSING)
        return []
    torch.manual_seed(0)
    theirs = ModelLoader("cpu").load_from_state_dict(ESRGAN(**RRDBNET).state_dict()).eval()
    network, image = load(TOWER).network, smooth(3, SIDE)
    draw, their_draw = partial(draw_samples, Observed(image), 1), partial(theirs, image)
    ours_g, theirs_g = (
        multiplications(*one) / 1e9 for one in ((network, lambda: draw(network, 1)), (theirs.model, their_draw))
    )
    found = []
    for backend in ("torch", *installed()):
        plan, _ = Backends(network).plan(SIDE, SIDE, torch.device("cpu"), Resources(backend=backend), 0)
        ours = partial(draw, plan.tower, plan.samples_per_batch)
        found.append(
            _by_turns(
                "processor time of a thousand million multiplications",
                f"{TOWER} by {backend}, {SIDE}x{SIDE} to {SIDE * network.spec.scale}, from the LQ to saved pixels",
                ("spandrel's RRDBNet", their_draw, theirs_g),
                ("ours", ours, ours_g),
                repeats,
                counts={"multiplications, thousand millions, theirs and ours": [round(theirs_g, 2), round(ours_g, 2)]},
            )
        )
    return found


class Projected:
    """A distance as the public code has it: between random projections of all features, by one matrix a layer and size.

    Args:
        distance: Whose features are projected.
    """

    def __init__(self, distance: DistanceLike) -> None:
        self.measure, self.matrices = distance, {}

    def features(self, images: Tensor) -> Tensor:
        """Return (N, 1000) or so: each layer's share of the dimensions, side by side."""
        maps = self.measure.features(images)
        flat = [(one / one.shape[-1]).flatten(1) for one in maps]  # so that squares sum to means over positions
        return torch.cat([one @ self._matrix(one.shape[1], PROJECTED // len(maps)) for one in flat], dim=1)

    def distance(self, a: Tensor, b: Tensor) -> Tensor:
        """Return squared distances (N,)."""
        return (a - b).square().sum(dim=1)

    def _matrix(self, length: int, dimensions: int) -> Tensor:
        if length not in self.matrices:
            generator = torch.Generator().manual_seed(length)
            self.matrices[length] = torch.randn(length, dimensions, generator=generator) / dimensions**0.5
        return self.matrices[length]


def _beside_the_public_search(repeats: int) -> Comparison:
    setting = SETTINGS[SEARCHED]
    torch.manual_seed(0)
    tower = TowerGenerator(**setting.network).eval().requires_grad_(False)
    distance = PerceptualDistance(backbone="squeezenet1_1", weights="random", calibration="none")
    problem = problem_of(tower, distance, setting, "cpu")
    candidates, runner = (
        [setting.candidates] * tower.spec.num_levels,
        SearchRunner(tower, SearchPlan(channels_last=True)),
    )

    def search(function: Callable[..., Any], one: Problem, **how: Any) -> Any:
        return function(*one, candidates, torch.Generator().manual_seed(0), setting.at_once, **how)

    projected = problem._replace(distance=Projected(distance))
    theirs, ours = partial(search, naive_hierarchical, projected), partial(search, hierarchical, problem, runner=runner)
    exact, guessed = ours().latents[0].style, theirs().latents[0].style  # the first makes the matrices
    return _by_turns(
        "the search of the method's public code",
        f"{SEARCHED}, {setting.examples} examples, {setting.candidates} a level, processor time",
        ("lower levels run again, random projections (made before)", theirs, 1.0),
        ("ours", ours, 1.0),
        repeats,
        counts={"projections, MiB": round(sum(one.nbytes for one in projected.distance.matrices.values()) / 2**20)},
        checks={"nearest candidates of level 1 that projections find": float((exact == guessed).all(1).float().mean())},
    )


def _by_turns(
    what: str,
    setting: str,
    plain: tuple[str, Callable[[], Any], float],
    ours: tuple[str, Callable[[], Any], float],
    repeats: int,
    **about: Any,
) -> Comparison:
    """Compare processor seconds over a divisor; each side is a name, a function and the divisor."""
    for _, function, _ in (plain, ours):
        function()
    pairs = [[both_seconds(function)[0] / divisor for _, function, divisor in (plain, ours)] for _ in range(repeats)]
    return of_pairs(what, setting, (plain[0], ours[0]), pairs, **about)
