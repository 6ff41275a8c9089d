"""The search: exact counts, equality with a naive search, and what it must leave alone."""

from __future__ import annotations

import pytest
import torch

from tim_plugin.degradations.base import Observed
from tim_plugin.imle.latents import draw_level
from tim_plugin.imle.pyramid import condition_pyramid, target_pyramid
from tim_plugin.imle.search import hierarchical, search_by, vanilla
from tim_plugin.losses.distance import PixelDistance
from tim_plugin.utils.errors import NonFiniteError
from tim_plugin.utils.trees import take


class Counting:
    """Wraps a tower and a distance and counts what is run on how many items, and how many at once."""

    def __init__(self, tower) -> None:
        self.tower, self.distance_ = tower, PixelDistance()
        self.items = [0] * tower.spec.num_levels
        self.at_once, self.target_passes = 0, 0
        self.targets: list[torch.Tensor] = []

    def latent_shapes(self, height, width):
        return self.tower.latent_shapes(height, width)

    def forward_level(self, level, condition, latent, state=None):
        self.items[level] += len(latent.style)
        self.at_once = max(self.at_once, len(latent.style))
        return self.tower.forward_level(level, condition, latent, state)

    def features(self, images):
        self.target_passes += any(images is target for target in self.targets)
        return self.distance_.features(images)

    def distance(self, a, b):
        return self.distance_.distance(a, b)


@pytest.fixture
def problem(tiny_tower):
    """A tower, conditions and targets of three examples."""
    tower = tiny_tower(consistency="project")
    lq, gt = torch.rand(3, 3, 3, 2), torch.rand(3, 3, 48, 32)
    return tower, condition_pyramid(Observed(lq), tower.spec, tower.degradation), target_pyramid(gt, 4)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(7)


def naive_hierarchical(tower, conditions, targets, samples, source):
    """Level by level as the paper words it: every candidate runs all lower levels again."""
    distance, picked, rows = PixelDistance(), [], []
    shapes = tower.latent_shapes(*conditions[0].image.shape[-2:])
    batch = len(targets[0])
    for level, count in enumerate(samples):
        best = [None] * batch
        for _ in range(count):
            candidate = draw_level(shapes[level], batch, source)
            for item in range(batch):
                state = None
                for lower in range(level + 1):
                    latent = candidate if lower == level else picked[lower]
                    image, state = tower.forward_level(
                        lower,
                        take(conditions[lower], slice(item, item + 1)),
                        type(latent)(latent.noise[item : item + 1], latent.style[item : item + 1]),
                        state,
                    )
                found = distance(image, targets[level][item : item + 1]).item()
                if best[item] is None or found < best[item][0]:
                    best[item] = (found, candidate.noise[item], candidate.style[item])
        picked.append(type(candidate)(torch.stack([b[1] for b in best]), torch.stack([b[2] for b in best])))
        rows.append([b[0] for b in best])
    return picked, torch.tensor(rows).T


@torch.no_grad()
def test_hierarchical_equals_a_naive_search(problem):
    tower, conditions, targets = problem
    found = hierarchical(tower, PixelDistance(), conditions, targets, [5, 3, 4, 2], generator(), 7)
    picked, distances = naive_hierarchical(tower, conditions, targets, [5, 3, 4, 2], generator())
    for level, expected in zip(found.latents, picked, strict=True):
        assert torch.equal(level.noise, expected.noise)
        assert torch.equal(level.style, expected.style)
    assert torch.allclose(found.distances, distances, rtol=1e-4)


@torch.no_grad()
def test_vanilla_equals_a_naive_search(problem):
    tower, conditions, targets = problem
    found = vanilla(tower, PixelDistance(), conditions, targets, [6] * 4, generator(), 6)
    source, distance, best = generator(), PixelDistance(), None
    shapes = tower.latent_shapes(3, 2)
    for _ in range(6):
        latents = [draw_level(shape, 3, source) for shape in shapes]
        images = tower(conditions, latents)
        total = sum(distance(image, target) for image, target in zip(images, targets, strict=True))
        styles = torch.stack([latent.style for latent in latents], dim=1)
        if best is None:
            best = (total, styles)
        else:
            nearer = total < best[0]
            best = (torch.where(nearer, total, best[0]), torch.where(nearer[:, None, None], styles, best[1]))
    assert torch.allclose(found.distances.sum(dim=1), best[0], rtol=1e-4)
    assert torch.equal(torch.stack([level.style for level in found.latents], dim=1), best[1])


def test_each_level_runs_exactly_m_times_an_example_and_targets_once(problem):
    tower, conditions, targets = problem
    counting = Counting(tower)
    counting.targets = targets
    found = hierarchical(counting, counting, conditions, targets, [5, 3, 4, 2], generator(), 6)
    assert counting.items == [15, 9, 12, 6] == list(found.evaluations)
    assert counting.target_passes == 4
    counting = Counting(tower)
    counting.targets = targets
    found = vanilla(counting, counting, conditions, targets, [5] * 4, generator(), 6)
    assert counting.items == [15] * 4 == list(found.evaluations)
    assert counting.target_passes == 4


@pytest.mark.parametrize("limit", [3, 7, 12, 1000])
@pytest.mark.parametrize("search", [hierarchical, vanilla])
def test_the_pick_does_not_depend_on_the_chunk_and_the_chunk_is_bounded(problem, search, limit):
    tower, conditions, targets = problem
    counting = Counting(tower)
    whole = search(tower, PixelDistance(), conditions, targets, [8] * 4, generator(), 24)
    found = search(counting, counting, conditions, targets, [8] * 4, generator(), limit)
    assert counting.at_once <= min(limit, 24)
    for level, expected in zip(found.latents, whole.latents, strict=True):
        assert torch.equal(level.noise, expected.noise)
    assert torch.allclose(found.distances, whole.distances, rtol=1e-4)


def test_more_candidates_are_never_further(problem):
    tower, conditions, targets = problem
    few = vanilla(tower, PixelDistance(), conditions, targets, [2] * 4, generator())
    many = vanilla(tower, PixelDistance(), conditions, targets, [16] * 4, generator())
    assert (many.distances.sum(dim=1) <= few.distances.sum(dim=1)).all()
    assert (many.distances.sum(dim=1) < few.distances.sum(dim=1)).any()


@pytest.mark.parametrize("training", [True, False])
def test_mode_and_global_random_state_are_left_alone(problem, training):
    tower, conditions, targets = problem
    tower.train(training)
    before = torch.get_rng_state()
    hierarchical(tower, PixelDistance(), conditions, targets, [2] * 4, generator())
    assert torch.equal(torch.get_rng_state(), before)
    assert tower.training is training
    assert all(p.grad is None for p in tower.parameters())


def test_the_distances_are_those_of_the_selected_codes(problem):
    tower, conditions, targets = problem
    found = hierarchical(tower, PixelDistance(), conditions, targets, [3] * 4, generator())
    with torch.no_grad():
        images = tower(conditions, found.latents)
    distances = [PixelDistance()(image, target) for image, target in zip(images, targets, strict=True)]
    assert torch.allclose(found.distances, torch.stack(distances, dim=1), rtol=1e-4)


def test_vanilla_counts_only_the_supervised_levels(problem):
    tower, conditions, targets = problem
    found = vanilla(tower, PixelDistance(), conditions, targets, [3] * 4, generator(), supervised_levels=[3])
    assert (found.distances[:, :3] == 0).all()
    assert (found.distances[:, 3] > 0).all()


def test_more_examples_than_the_limit_is_an_error(problem):
    tower, conditions, targets = problem
    with pytest.raises(ValueError, match="max_candidates_per_batch 2"):
        hierarchical(tower, PixelDistance(), conditions, targets, [2] * 4, generator(), 2)


def test_a_network_of_nan_is_reported_with_its_level(problem):
    tower, conditions, targets = problem
    with torch.no_grad():
        tower.levels[1].conv_last.bias.fill_(float("nan"))
    with pytest.raises(NonFiniteError, match="level 2"):
        hierarchical(tower, PixelDistance(), conditions, targets, [2] * 4, generator())


def test_chimle_is_the_hierarchical_search_with_numbers_by_level(problem):
    numbers = [5, 3, 2, 1]
    found = search_by("chimle", range(4), [0.0] * 4)(problem[0], PixelDistance(), *problem[1:], numbers, generator(), 7)
    plain = hierarchical(problem[0], PixelDistance(), *problem[1:], numbers, generator(), 7)
    for ours, theirs in zip(plain.latents, found.latents, strict=True):
        assert torch.equal(ours.style, theirs.style) and torch.equal(ours.noise, theirs.noise)
    assert found.evaluations == (15, 9, 6, 3)
