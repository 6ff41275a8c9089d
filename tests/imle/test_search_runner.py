"""Ways to run the search: each against the plain search, on the same candidates."""

from __future__ import annotations

import math
import warnings

import pytest
import torch

from tim_plugin.degradations.base import Observed
from tim_plugin.imle.latents import draw_level
from tim_plugin.imle.pyramid import condition_pyramid, target_pyramid
from tim_plugin.imle.search import hierarchical, vanilla
from tim_plugin.imle.search_runner import SearchPlan, SearchRunner
from tim_plugin.losses.distance import PerceptualDistance, PixelDistance
from tim_plugin.utils.errors import NonFiniteError, TimError
from tim_plugin.utils.memory import peak_bytes
from tim_plugin.utils.trees import tile

SEARCHES = [hierarchical, vanilla]


class Watched:
    """A tower and a distance that note what they are run on; the tower may run out of memory."""

    def __init__(self, tower, distance=None, refuse_from=None, refusals=1) -> None:
        self.tower, self.measure = tower, distance or PixelDistance()
        self.refuse_from, self.refusals = refuse_from, refusals
        self.codes = [[] for _ in range(tower.spec.num_levels)]
        self.at_once = [[] for _ in range(tower.spec.num_levels)]
        self.layouts, self.autocast = set(), []

    def latent_shapes(self, height, width):
        return self.tower.latent_shapes(height, width)

    def forward_level(self, level, condition, latent, state=None):
        self.at_once[level].append(len(latent.style))
        if self.refuse_from is not None and len(latent.style) >= self.refuse_from and self.refusals:
            self.refusals -= 1
            raise torch.OutOfMemoryError("no memory")
        self.codes[level].append(latent.style)
        self.autocast.append(torch.is_autocast_enabled("cpu"))
        self.layouts.add(latent.noise.is_contiguous(memory_format=torch.channels_last))
        return self.tower.forward_level(level, condition, latent, state)

    def features(self, images):
        return self.measure.features(images)

    def distance(self, a, b):
        return self.measure.distance(a, b)


@pytest.fixture
def problem(tiny_tower):
    """A tower, conditions and targets of three examples."""
    tower = tiny_tower(consistency="project")
    torch.manual_seed(3)
    lq, gt = torch.rand(3, 3, 3, 2), torch.rand(3, 3, 48, 32)
    return tower, condition_pyramid(Observed(lq), tower.spec, tower.degradation), target_pyramid(gt, 4)


@pytest.fixture(scope="module")
def perceptual():
    return PerceptualDistance(backbone="squeezenet1_1", weights="random", calibration="none")


def run(search, problem, plan=None, limit=7, candidates=8, distance=None, runner=None, **more):
    tower, conditions, targets = problem
    distance = distance or PixelDistance()
    if runner is None and plan is not None:
        runner = SearchRunner(tower, plan)
    source = torch.Generator().manual_seed(7)
    return search(tower, distance, conditions, targets, [candidates] * 4, source, limit, runner=runner, **more)


def same_codes(a, b):
    return all(torch.equal(x, y) for p, q in zip(a.latents, b.latents, strict=True) for x, y in zip(p, q, strict=True))


def exact_distances(problem, found, distance=None):
    """Distances of the selected codes by the whole tower, in full precision."""
    tower, conditions, targets = problem
    distance = distance or PixelDistance()
    with torch.no_grad():
        images = tower(conditions, found.latents)
    return torch.stack([distance(image, target) for image, target in zip(images, targets, strict=True)], dim=1)


@pytest.mark.parametrize("search", SEARCHES)
def test_a_runner_without_a_plan_changes_no_bit(problem, search):
    plain, found = run(search, problem), run(search, problem, SearchPlan())
    assert same_codes(plain, found) and torch.equal(plain.distances, found.distances)


# precision ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("search", SEARCHES)
def test_half_precision_reports_full_precision(problem, search):
    plain = run(search, problem)
    watched = Watched(problem[0])
    found = run(search, problem, runner=SearchRunner(watched, SearchPlan(precision="bf16")))
    assert torch.allclose(found.distances, exact_distances(problem, found), rtol=1e-5)
    assert (found.distances[:, 0] <= plain.distances[:, 0] * 1.02).all()  # hardly farther at the first level
    assert found.evaluations == tuple(n + 3 for n in plain.evaluations)
    assert [sum(items) for items in watched.at_once] == list(found.evaluations)
    assert any(watched.autocast) and not all(watched.autocast)


@pytest.mark.parametrize("search", SEARCHES)
def test_half_precision_of_the_training_too_reports_full_precision(problem, search):
    """`amp: bf16` with `search_precision: bf16`: the outer autocast does not reach the winner's second run."""
    watched = Watched(problem[0])
    with torch.autocast("cpu", torch.bfloat16):
        found = run(search, problem, runner=SearchRunner(watched, SearchPlan(precision="bf16")))
    assert torch.allclose(found.distances, exact_distances(problem, found), rtol=1e-5)
    assert any(watched.autocast) and not all(watched.autocast)


def test_half_precision_and_plain_search_see_the_same_candidates(problem):
    runs = []
    for plan in (SearchPlan(), SearchPlan(precision="bf16"), SearchPlan(channels_last=True)):
        watched = Watched(problem[0])
        run(hierarchical, problem, runner=SearchRunner(watched, plan), limit=24)
        runs.append([codes[0] for codes in watched.codes])
    assert all(torch.equal(a, b) for other in runs[1:] for a, b in zip(runs[0], other, strict=True))


# layout and compilation -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("search", SEARCHES)
def test_channels_last_picks_the_same(problem, search):
    watched = Watched(problem[0])
    found = run(search, problem, runner=SearchRunner(watched, SearchPlan(channels_last=True)))
    plain = run(search, problem)
    assert watched.layouts == {True}
    assert same_codes(plain, found) and torch.allclose(plain.distances, found.distances, rtol=1e-4)
    assert all(level.noise.is_contiguous() for level in found.latents)


@pytest.mark.parametrize("search", SEARCHES)
def test_a_budget_is_kept_and_does_not_change_the_codes(problem, search):
    unbounded = Watched(problem[0])
    plain = run(search, problem, runner=SearchRunner(unbounded), limit=3)
    budget = 2**20
    watched = Watched(problem[0])
    runner = SearchRunner(watched, SearchPlan(memory_gib=budget / 2**30))
    found = run(search, problem, runner=runner, limit=3)
    assert same_codes(plain, found)
    largest = [max(items) for items in watched.at_once]
    assert largest[0] > 3 and all(items % 3 == 0 for items in largest)
    if search is hierarchical:
        assert largest[0] > largest[-1]  # an item of a finer level is larger
        latents = draw_level(problem[0].latent_shapes(3, 2)[0], largest[0], torch.Generator().manual_seed(0))
        condition = tile(problem[1][0], largest[0] // 3)
        with torch.no_grad():
            used = peak_bytes(lambda: problem[0].forward_level(0, condition, latents), torch.device("cpu"))
        assert used <= budget
    probes = sum(len(items) for items in watched.at_once)
    watched.at_once = [[] for _ in range(4)]
    run(search, problem, runner=runner, limit=3)
    assert sum(len(items) for items in watched.at_once) < probes  # a level is measured once


def test_at_least_one_candidate_of_each_example_is_run(problem):
    watched = Watched(problem[0])
    found = run(hierarchical, problem, runner=SearchRunner(watched, SearchPlan(memory_gib=1e-9)), limit=1)
    assert {items for level in watched.at_once for items in level} == {3}
    assert same_codes(found, run(hierarchical, problem))


@pytest.mark.parametrize("search", SEARCHES)
def test_out_of_memory_halves_the_chunk_once_and_keeps_the_candidates(problem, search):
    plain = run(search, problem, limit=24)
    watched = Watched(problem[0], refuse_from=9)
    runner = SearchRunner(watched)
    with pytest.warns(RuntimeWarning, match="level . ?: 24 items at once .* do not fit in memory"):
        found = run(search, problem, runner=runner, limit=24)
    assert same_codes(plain, found) and torch.allclose(plain.distances, found.distances, rtol=1e-4)
    assert watched.at_once[0][:3] == [24, 12, 12]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(search, problem, runner=runner, limit=24)  # the next search starts with half as many
    assert watched.at_once[0][3:] == [12, 12]


def test_out_of_memory_twice_is_an_error_that_names_the_options(problem):
    runner = SearchRunner(Watched(problem[0], refuse_from=9, refusals=99))
    with (
        pytest.warns(RuntimeWarning),
        pytest.raises(TimError, match="level 1: .* halved before: lower imle: max_candidates_per_batch"),
    ):
        run(hierarchical, problem, runner=runner, limit=24)
    runner = SearchRunner(Watched(problem[0], refuse_from=3))
    with pytest.raises(TimError, match="do not fit in memory"):
        run(hierarchical, problem, runner=runner, limit=3)


# all ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("search", SEARCHES)
def test_everything_together(problem, perceptual, search):
    plan = SearchPlan(precision="bf16", channels_last=True, memory_gib=0.01)
    found = run(search, problem, plan, distance=perceptual)
    assert torch.allclose(found.distances, exact_distances(problem, found, perceptual), rtol=1e-3)
    plain = run(search, problem, distance=perceptual)
    assert found.distances.sum() <= plain.distances.sum() * 1.2


@pytest.mark.parametrize("plan", [SearchPlan(precision="bf16"), SearchPlan(channels_last=True)])
def test_a_network_of_nan_is_reported_with_its_level(problem, perceptual, plan):
    with torch.no_grad():
        problem[0].levels[1].conv_last.bias.fill_(math.nan)
    with pytest.raises(NonFiniteError, match="level 2"):
        run(hierarchical, problem, plan, distance=perceptual)


def test_a_single_candidate_of_nan_does_not_win(problem, perceptual):
    tower, broken = problem[0], []

    class Once(Watched):
        def forward_level(self, level, condition, latent, state=None):
            image, new = super().forward_level(level, condition, latent, state)
            if not broken:
                broken.append(True)
                image[:3] = math.nan
            return image, new

    for plan in (SearchPlan(), SearchPlan(precision="bf16")):
        broken.clear()
        found = run(hierarchical, problem, distance=perceptual, runner=SearchRunner(Once(tower), plan))
        assert broken and torch.isfinite(found.distances).all()
