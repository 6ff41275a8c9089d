"""Ways to run the search: each against the plain search, on the same candidates."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from tim_plugin.degradations.base import Observed
from tim_plugin.imle.latents import LevelShape, draw_level
from tim_plugin.imle.live_memory import peak_bytes
from tim_plugin.imle.pyramid import condition_pyramid, target_pyramid
from tim_plugin.imle.search import hierarchical, search_by, vanilla
from tim_plugin.imle.search_runner import SearchPlan, SearchRunner
from tim_plugin.imle.types import Condition
from tim_plugin.losses.distance import PerceptualDistance, PixelDistance
from tim_plugin.utils.errors import NonFiniteError, TimError
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
        self.passes = {"whole": 0, "early": 0}

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
        self.passes["whole"] += len(images)
        return self.measure.features(images)

    def early_features(self, images):
        self.passes["early"] += len(images)
        return self.measure.early_features(images)

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


@pytest.mark.parametrize(("search", "width"), [(hierarchical, 1), (hierarchical, 2), (vanilla, 1)])
def test_half_precision_reports_full_precision(problem, search, width):
    more = {"width": width} if width > 1 else {}
    plain = run(search, problem, **more)
    watched = Watched(problem[0])
    found = run(search, problem, runner=SearchRunner(watched, SearchPlan(precision="bf16")), **more)
    assert torch.allclose(found.distances, exact_distances(problem, found), rtol=1e-5)
    assert (found.distances[:, 0] <= plain.distances[:, 0] * 1.02).all()  # hardly farther at the first level
    assert found.evaluations == tuple(n + 3 * width for n in plain.evaluations)
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


def test_screening_in_half_precision_of_the_training_stays_in_it(problem, perceptual):
    """Without `search_precision` the winners are those of the network as it is trained."""
    watched = Watched(problem[0], perceptual)
    with torch.autocast("cpu", torch.bfloat16):
        run(hierarchical, problem, distance=watched, runner=SearchRunner(watched, SearchPlan(screen=0.5)))
    assert all(watched.autocast)


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


class TwoConvolutions(nn.Module):
    """Two levels of one weight-normalised convolution each: little to compile."""

    def __init__(self) -> None:
        super().__init__()
        self.levels = nn.ModuleList(weight_norm(nn.Conv2d(4, 3, 3, 1, 1)) for _ in range(2))

    def latent_shapes(self, height, width):
        return [LevelShape((1, height, width), (2,))] * 2

    def forward_level(self, level, condition, latent, state=None):
        below = condition.image if state is None else state
        image = self.levels[level](torch.cat([below, latent.noise + latent.style[:, :1, None, None]], dim=1)).sigmoid()
        return image, image


def test_each_level_is_compiled_once_picks_the_same_and_follows_the_weights():
    """Chunks of 6, 6, 6 and 3, in three searches; the backend counts and runs what it is given as it is."""
    torch.manual_seed(0)
    tower, compiled = TwoConvolutions(), []
    images = torch.rand(3, 3, 4, 4)

    def backend(module, inputs):
        compiled.append(module)
        return module.forward

    def found(runner=None):
        source = torch.Generator().manual_seed(7)
        return hierarchical(
            tower, PixelDistance(), [Condition(images)] * 2, [images] * 2, [7] * 2, source, 7, runner=runner
        )

    runner = SearchRunner(tower, SearchPlan(compiled=True), backend)
    plain, first, second = found(), found(runner), found(runner)
    assert len(compiled) == 2
    assert same_codes(plain, first) and torch.allclose(plain.distances, first.distances, rtol=1e-4)
    assert torch.equal(first.distances, second.distances)
    with torch.no_grad():  # training goes on between searches
        for parameter in tower.parameters():
            parameter.mul_(-1.3)
    moved, again = found(), found(runner)
    assert not torch.allclose(moved.distances, plain.distances, rtol=0.01)
    assert torch.allclose(moved.distances, again.distances, rtol=1e-4)
    assert len(compiled) == 2


def test_a_machine_that_cannot_compile_is_one_clear_error():
    def backend(module, inputs):
        raise RuntimeError("no compiler")

    image = torch.rand(1, 3, 4, 4)
    with pytest.raises(TimError, match="imle: search_compile: level 1 .*no compiler.* gcc"):
        hierarchical(
            TwoConvolutions(),
            PixelDistance(),
            [Condition(image)] * 2,
            [image] * 2,
            [2] * 2,
            torch.Generator().manual_seed(7),
            runner=SearchRunner(TwoConvolutions(), SearchPlan(compiled=True), backend),
        )


# memory ---------------------------------------------------------------------------------------------------------------


def test_the_peak_of_what_is_alive_is_counted():
    base = torch.zeros(1000)

    def function():
        one = base + 1  # 4000 bytes
        view = one.view(10, 100)  # none
        two = view * 2  # 4000 more
        del one, view
        return torch.cat([two.flatten(), two.flatten()])  # 4000 freed, 8000 more

    assert peak_bytes(function, torch.device("cpu")) == 12000


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


# screening ------------------------------------------------------------------------------------------------------------


def test_early_features_are_the_first_of_all(perceptual):
    images = torch.rand(2, 3, 32, 32)
    early, whole = perceptual.early_features(images), perceptual.features(images)
    assert 0 < len(early) < len(whole)
    assert all(torch.equal(a, b) for a, b in zip(early, whole, strict=False))


@pytest.mark.parametrize("limit", [3, 7, 24])
def test_screening_takes_the_nearest_of_the_early_best(problem, perceptual, limit):
    """The first level by brute force: 8 candidates, of which the 2 nearest by early features are compared wholly."""
    tower, conditions, targets = problem
    watched = Watched(tower, perceptual)
    runner = SearchRunner(watched, SearchPlan(screen=0.25))
    found = run(hierarchical, problem, limit=limit, distance=watched, runner=runner)
    source, shape = torch.Generator().manual_seed(7), tower.latent_shapes(3, 2)[0]
    codes = [draw_level(shape, 3, source) for _ in range(8)]
    with torch.no_grad():
        images = [tower.forward_level(0, conditions[0], one)[0] for one in codes]
        early = torch.stack(
            [
                perceptual.distance(perceptual.early_features(image), perceptual.early_features(targets[0]))
                for image in images
            ]
        )
        whole = torch.stack([perceptual(image, targets[0]) for image in images])  # (8, N)
    for item in range(3):
        best = min(early[:, item].argsort()[:2].tolist(), key=lambda index: whole[index, item])
        assert torch.equal(found.latents[0].style[item], codes[best].style[item])
    assert torch.allclose(found.distances, exact_distances(problem, found, perceptual), rtol=1e-3)
    # 4 levels of 3 examples: targets, 2 of 8 candidates, the winner once more; all candidates early.
    assert watched.passes == {"whole": 12 * (1 + 2 + 1), "early": 12 * (1 + 8)}


def test_screening_of_all_levels_together(problem, perceptual):
    results = [
        run(vanilla, problem, SearchPlan(screen=0.5), limit=limit, distance=perceptual, supervised_levels=[1, 3])
        for limit in (3, 24)
    ]
    assert same_codes(*results)
    exact = exact_distances(problem, results[0], perceptual)
    assert torch.allclose(results[0].distances[:, [1, 3]], exact[:, [1, 3]], rtol=1e-3)
    assert (results[0].distances[:, [0, 2]] == 0).all()
    every = run(vanilla, problem, SearchPlan(screen=0.999), distance=perceptual)
    assert same_codes(every, run(vanilla, problem, distance=perceptual))


def test_screening_with_several_winners(problem, perceptual):
    found = run(hierarchical, problem, SearchPlan(screen=0.25), distance=perceptual, width=4)
    assert torch.allclose(found.distances, exact_distances(problem, found, perceptual), rtol=1e-3)


def test_screening_needs_early_features(problem):
    with pytest.raises(TimError, match="imle: screen .*PixelDistance has none: use PerceptualDistanceLoss"):
        run(hierarchical, problem, SearchPlan(screen=0.5))


# all ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("search", SEARCHES)
def test_everything_together(problem, perceptual, search):
    plan = SearchPlan(precision="bf16", channels_last=True, memory_gib=0.01, screen=0.5)
    found = run(search, problem, plan, distance=perceptual)
    assert torch.allclose(found.distances, exact_distances(problem, found, perceptual), rtol=1e-3)
    plain = run(search, problem, distance=perceptual)
    assert found.distances.sum() <= plain.distances.sum() * 1.2


@pytest.mark.parametrize("plan", [SearchPlan(precision="bf16"), SearchPlan(screen=0.5), SearchPlan(channels_last=True)])
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

    for plan in (SearchPlan(precision="bf16"), SearchPlan(screen=0.5)):
        broken.clear()
        found = run(hierarchical, problem, distance=perceptual, runner=SearchRunner(Once(tower), plan))
        assert torch.isfinite(found.distances).all()


def test_chimle_is_the_hierarchical_search_with_numbers_by_level(problem):
    tower, conditions, targets = problem
    found = search_by("chimle", range(4), [0.0] * 4)(
        tower, PixelDistance(), conditions, targets, [5, 3, 2, 1], torch.Generator().manual_seed(7), 7
    )
    plain = hierarchical(tower, PixelDistance(), conditions, targets, [5, 3, 2, 1], torch.Generator().manual_seed(7), 7)
    assert same_codes(plain, found) and found.evaluations == (15, 9, 6, 3)
