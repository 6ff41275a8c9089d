"""Beyond the paper: several winners a level, a radius of rejection, jitter."""

from __future__ import annotations

import pytest
import torch

from tim_plugin.degradations.base import Observed
from tim_plugin.imle.latents import Latents, draw_level
from tim_plugin.imle.nearest import REJECTED, rank_keys
from tim_plugin.imle.pyramid import condition_pyramid, target_pyramid
from tim_plugin.imle.search import Selection, hierarchical, vanilla
from tim_plugin.losses.distance import PixelDistance
from tim_plugin.options.schema import ImleSpec
from tim_plugin.options.values import build_spec
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.trees import join, take, tile


@pytest.fixture
def problem(tiny_tower):
    torch.manual_seed(3)
    tower = tiny_tower()
    lq, gt = torch.rand(3, 3, 2, 2), torch.rand(3, 3, 32, 32)
    return tower, condition_pyramid(Observed(lq), tower.spec, tower.degradation), target_pyramid(gt, 4)


def generator():
    return torch.Generator().manual_seed(7)


@torch.no_grad()
def greedy(tower, conditions, targets, source):
    """The paper's search by itself: two candidates at a time, twice a level, and the nearest is kept."""
    shapes, state, latents, distances = tower.latent_shapes(2, 2), None, [], []
    for level, (condition, target) in enumerate(zip(conditions, targets, strict=True)):
        tried = []
        for _ in range(2):
            codes = [draw_level(shapes[level], 3, source) for _ in range(2)]
            codes = type(codes[0])(*(torch.cat(parts) for parts in zip(*codes, strict=True)))
            image, new = tower.forward_level(level, tile(condition, 2), codes, tile(state, 2))
            tried.append((PixelDistance()(image, target.repeat(2, 1, 1, 1)), codes, new))
        own, codes, new = join(tried)
        nearest = own.view(4, 3).argmin(dim=0) * 3 + torch.arange(3)
        state = take(new, nearest)
        latents.append(take(codes, nearest))
        distances.append(own[nearest])
    return Selection(Latents(latents), torch.stack(distances, dim=1), (12,) * 4)


def test_one_winner_is_the_papers_search(problem):
    tower, conditions, targets = problem
    mine = hierarchical(tower, PixelDistance(), conditions, targets, [4] * 4, generator(), 7, width=1)
    plain = greedy(tower, conditions, targets, generator())
    assert torch.equal(mine.distances, plain.distances) and mine.evaluations == plain.evaluations
    assert all(
        torch.equal(a, b) for x, y in zip(mine.latents, plain.latents, strict=True) for a, b in zip(x, y, strict=True)
    )


@pytest.mark.parametrize("limit", [6, 100])
def test_several_winners_count_the_same_and_are_what_they_say(problem, limit):
    tower, conditions, targets = problem
    counted = [0] * 4
    original = tower.forward_level

    def counting(level, condition, latent, state=None):
        counted[level] += len(latent.style)
        return original(level, condition, latent, state)

    tower.forward_level = counting
    found = hierarchical(tower, PixelDistance(), conditions, targets, [6] * 4, generator(), limit, width=3)
    assert counted == [18] * 4 == list(found.evaluations)
    tower.forward_level = original
    with torch.no_grad():
        images = tower(conditions, found.latents)
    for level, (image, target) in enumerate(zip(images, targets, strict=True)):
        assert torch.allclose(PixelDistance()(image, target), found.distances[:, level], atol=1e-6)


def test_the_kept_winners_are_the_best_of_all_paths(problem):
    """Two levels, brute force: each of the two best first codes is continued by two second codes."""
    tower, conditions, targets = problem
    drawn = []
    original = tower.forward_level

    def watching(level, condition, latent, state=None):
        image, new = original(level, condition, latent, state)
        drawn.append((level, PixelDistance()(image, targets[level].repeat(len(image) // 3, 1, 1, 1))))
        return image, new

    tower.forward_level = watching
    found = hierarchical(tower, PixelDistance(), conditions, targets, [4] * 4, generator(), 100, width=2)
    first, second = (one.view(-1, 3) for _, one in drawn[:2])
    order = first.argsort(dim=0)[:2]
    totals = first.gather(0, order).repeat(2, 1) + second  # candidate-major, winners within
    best_two = totals.sort(dim=0).values[:2]
    reached = found.distances[:, :2].sum(dim=1)
    assert all(min(abs(best_two[:, n] - reached[n])) < 1e-6 for n in range(3))


def test_what_is_too_near_is_not_taken():
    keys = rank_keys(torch.tensor([0.5, 1.0, 2.0, float("nan")]), 0.8)
    assert keys.argsort().tolist()[:3] == [1, 2, 0] and keys[3] == torch.inf
    all_near = rank_keys(torch.tensor([0.5, 0.7, 0.1]), 0.8)
    assert all_near.argmin() == 1 and all_near.min() > REJECTED / 2
    assert rank_keys(torch.tensor([0.5, 0.501, 0.4999]), 0.8).argsort().tolist() == [1, 0, 2]


@pytest.mark.parametrize("search", [hierarchical, vanilla])
def test_a_radius_changes_the_choice(problem, search):
    tower, conditions, targets = problem
    plain = search(tower, PixelDistance(), conditions, targets, [8] * 4, generator(), 24)
    radius = [float(one) + 1e-6 for one in plain.distances.amax(dim=0)]
    found = search(tower, PixelDistance(), conditions, targets, [8] * 4, generator(), 24, reject_radius=radius)
    assert (found.distances.sum(dim=1) > plain.distances.sum(dim=1)).all()
    assert torch.isfinite(found.distances).all() and found.distances.max() < REJECTED / 2
    again = search(tower, PixelDistance(), conditions, targets, [8] * 4, generator(), 24, reject_radius=[0.0] * 4)
    assert torch.equal(again.distances, plain.distances)


def test_jitter_is_seeded_noise_of_its_size(problem):
    tower, _, _ = problem
    codes = Latents.draw(tower.latent_shapes(16, 16), 4, generator())
    moved = codes.jittered(0.1, generator())
    again = codes.jittered(0.1, generator())
    assert torch.equal(moved[3].noise, again[3].noise)
    assert float((moved[3].noise - codes[3].noise).std()) == pytest.approx(0.1, rel=0.1)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"jitter": -0.1}, "imle: jitter must be at least 0"),
        ({"reject_radius": ["x"]}, "imle: reject_radius is the text 'x'"),
    ],
)
def test_options_are_checked(section, message):
    with pytest.raises(TimError, match=message):
        build_spec(ImleSpec, section)


def test_a_radius_a_level():
    assert ImleSpec(reject_radius=0.5).radii(3) == (0.5, 0.5, 0.5)
    with pytest.raises(TimError, match="reject_radius has 2 entries for 3 levels"):
        ImleSpec(reject_radius=[1, 2]).radii(3)
