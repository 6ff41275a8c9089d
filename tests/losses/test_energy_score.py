"""The energy score: its value by brute force and in closed form, and that the true distribution minimises it."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from tim_plugin.imle.types import Weighted
from tim_plugin.losses.distance import PerceptualDistance, PixelDistance
from tim_plugin.losses.energy_score import energy_score

PIXELS = PixelDistance()


def numbers(values):
    """Numbers as features: the norm between two is their difference."""
    return PIXELS.features(values.view(-1, 1, 1, 1))


def normal(count, deviation=1.0, seed=0):
    return deviation * torch.randn(count, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("count", [2, 3])
def test_of_features_by_brute_force(count):
    distance = PerceptualDistance("squeezenet1_1", weights="random", calibration="none")
    generator = torch.Generator().manual_seed(0)
    images, target = torch.rand(count, 2, 3, 32, 32, generator=generator), torch.rand(2, 3, 32, 32, generator=generator)
    found = energy_score(distance, [distance.features(one) for one in images], distance.features(target))
    for item in range(2):
        samples, truth = images[:, item : item + 1], target[item : item + 1]
        pull = sum(float(distance(one, truth).sqrt()) for one in samples) / count
        pairs = itertools.permutations(samples, 2)
        push = sum(float(distance(a, b).sqrt()) for a, b in pairs) / (2 * count * (count - 1))
        assert float(found[item]) == pytest.approx(pull - push, rel=1e-4)


def test_the_truth_is_the_lowest_in_closed_form():
    """E|X - Y| - E|X - X'| / 2 of N(0, s^2) against N(0, 1) is sqrt(2 / pi) (sqrt(1 + s^2) - s / sqrt(2))."""
    truth, means = normal(100_000), {}
    for deviation in (0.0, 0.5, 1.0, 2.0):
        samples = [numbers(normal(100_000, deviation, seed)) for seed in (1, 2)]
        means[deviation] = float(energy_score(PIXELS, samples, numbers(truth)).mean())
        exact = math.sqrt(2 / math.pi) * (math.sqrt(1 + deviation**2) - deviation / math.sqrt(2))
        assert means[deviation] == pytest.approx(exact, rel=0.01)
    assert min(means, key=means.get) == 1.0


def test_a_generator_learns_mean_and_deviation():
    place, log_deviation = torch.zeros(1, requires_grad=True), torch.full((1,), -2.0, requires_grad=True)
    optimizer = torch.optim.Adam([place, log_deviation], 0.03)
    for step in range(300):
        truth = 1 + 0.5 * normal(256, seed=3 * step)
        samples = [numbers(place + log_deviation.exp() * normal(256, seed=3 * step + j)) for j in (1, 2)]
        optimizer.zero_grad()
        energy_score(PIXELS, samples, numbers(truth)).mean().backward()
        optimizer.step()
    assert float(place.detach()) == pytest.approx(1, abs=0.06)
    assert float(log_deviation.detach().exp()) == pytest.approx(0.5, abs=0.06)


def test_the_weights_of_a_target_count_between_samples_too():
    generator = torch.Generator().manual_seed(0)
    first, second, truth = torch.rand(3, 1, 3, 4, 4, generator=generator)
    weight = torch.zeros(1, 1, 4, 4)
    weight[..., :2, :] = 2.0
    samples = [PIXELS.features(one) for one in (first, second)]
    found = energy_score(PIXELS, samples, PIXELS.features(Weighted(truth, weight)))
    halves = [PIXELS.features(one[..., :2, :]) for one in (first, second, truth)]
    assert float(found) == pytest.approx(float(energy_score(PIXELS, halves[:2], halves[2])), rel=1e-5)


def test_equal_samples_have_a_finite_gradient():
    one = torch.rand(1, 3, 4, 4, requires_grad=True)
    energy_score(PIXELS, [PIXELS.features(one)] * 2, PIXELS.features(one.detach())).sum().backward()
    assert one.grad.isfinite().all()
