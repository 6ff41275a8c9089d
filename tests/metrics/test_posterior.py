"""Measures of a posterior against slow direct formulas, and on Gaussians where the answers are known."""

from __future__ import annotations

import itertools
import math
import random

import pytest
import torch

from tim_plugin.metrics import calibration, posterior
from tim_plugin.utils.errors import TimError

COUNT = 9


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def gaussian(deviation, generator, size=40_000):
    """Samples of this deviation about an unknown mean, and truths of deviation 1 about the same."""
    mean = torch.randn(size, generator=generator, dtype=torch.float64)
    samples = mean + deviation * torch.randn(COUNT, size, generator=generator, dtype=torch.float64)
    return samples, mean + torch.randn(size, generator=generator, dtype=torch.float64)


def test_the_energy_score_is_its_formula_and_does_not_depend_on_n(generator):
    samples, gt = torch.rand(5, 3, 4, 6, generator=generator), torch.rand(1, 3, 4, 6, generator=generator)
    to_truth = [math.sqrt(float((one - gt[0]).square().mean())) for one in samples]
    pairs = [math.sqrt(float((a - b).square().mean())) for a, b in itertools.permutations(samples, 2)]
    expected = sum(to_truth) / 5 - sum(pairs) / 20 / 2
    assert posterior.fair_energy_score(*posterior.pixel_distances(samples, gt)) == pytest.approx(expected, rel=1e-5)
    of_subsets = [
        posterior.fair_energy_score(*posterior.pixel_distances(samples[list(some)], gt))
        for some in itertools.combinations(range(5), 2)
    ]
    assert sum(of_subsets) / len(of_subsets) == pytest.approx(expected, rel=1e-5)


def test_the_energy_score_is_least_for_the_true_distribution(generator):
    def score(deviation):
        truths = torch.randn(600, 1, 8, generator=generator)
        drawn = deviation * torch.randn(600, COUNT, 8, generator=generator)
        pairs = zip(drawn, truths, strict=True)
        return sum(posterior.fair_energy_score(*posterior.pixel_distances(*pair)) for pair in pairs) / 600

    narrow, true, wide = (score(deviation) for deviation in (0.5, 1.0, 2.0))
    assert true < narrow and true < wide


def test_the_crps_is_its_formula_and_that_of_a_gaussian(generator):
    samples, truth = (torch.rand(4, 7, generator=generator), torch.rand(7, generator=generator))
    for at, found in enumerate(posterior.fair_crps(samples, truth)):
        own = samples[:, at].tolist()
        pairs = sum(abs(a - b) for a, b in itertools.permutations(own, 2)) / 12
        assert found == pytest.approx(sum(abs(one - float(truth[at])) for one in own) / 4 - pairs / 2, rel=1e-5)
    # E|X - y| - E|X - X'| / 2, meaned over y of the same Gaussian: half the mean absolute difference, 1 / sqrt(pi)
    assert float(posterior.fair_crps(*gaussian(1, generator)).mean()) == pytest.approx(1 / math.sqrt(math.pi), abs=0.01)


def test_ranks_are_those_that_ties_broken_by_chance_have_on_average():
    samples = torch.tensor([[0, 1, 2, 5, 3], [1, 1, 2, 5, 0], [1, 4, 2, 4, 2]])
    truth = torch.tensor([1, 1, 2, 9, 2])  # the third coordinate tells nothing
    expected, chance = [0.0] * 4, random.Random(0)
    for at in (0, 1, 3, 4):
        for _ in range(3000):
            order = sorted((int(one), chance.random(), "sample") for one in samples[:, at])
            order = sorted([*order, (int(truth[at]), chance.random(), "truth")])
            expected[[kind for _, _, kind in order].index("truth")] += 1 / 3000
    found = posterior.rank_histogram(samples, truth)
    assert found.sum() == pytest.approx(4) and found.tolist() == pytest.approx(expected, abs=0.05)
    assert found.tolist() == pytest.approx([1 / 3, 1 / 3 + 1 / 3 + 1 / 2, 1 / 3 + 1 / 3 + 1 / 2, 1 / 3 + 1])


def test_coverage_is_that_of_intervals_between_samples(generator):
    samples, truth = gaussian(0.6, generator, 500)
    ranks = posterior.rank_histogram(samples, truth)
    ordered = samples.sort(dim=0).values
    for low in range(1, 5):  # intervals that end at samples: between the low-th least and the low-th largest
        inside = (ordered[low - 1] < truth) & (truth < ordered[-low])
        level = 1 - 2 * low / (COUNT + 1)
        assert posterior.coverage(ranks, level) == pytest.approx(float(inside.double().mean()), abs=1e-9)
    assert posterior.coverage(torch.zeros(COUNT + 1), 0.8) == 0.8
    with pytest.raises(TimError, match="^coverage: 9 samples have no central interval of level 0.81: take more$"):
        posterior.coverage(ranks, 0.81)


def test_samples_like_the_truth_are_shown_as_calibrated(generator):
    samples, truth = gaussian(1, generator)
    ranks = posterior.rank_histogram(samples, truth)
    assert (ranks / ranks.sum()).tolist() == pytest.approx([1 / (COUNT + 1)] * (COUNT + 1), abs=0.01)
    for level in (0.3, 0.5, 0.8):
        assert posterior.coverage(ranks, level) == pytest.approx(level, abs=0.01)
    parts = (float(one.mean()) for one in posterior.variance_and_error(samples, truth))
    assert posterior.spread_over_error(*parts, COUNT) == pytest.approx(1, abs=0.01)
    rounded = posterior.rank_histogram((samples * 2).round(), (truth * 2).round())  # ties do not spoil it
    assert (rounded / rounded.sum()).tolist() == pytest.approx([1 / (COUNT + 1)] * (COUNT + 1), abs=0.01)


@pytest.mark.parametrize(("deviation", "ends_are_high"), [(0.3, True), (3.0, False)])
def test_samples_too_much_alike_or_too_different_are_shown_as_such(deviation, ends_are_high, generator):
    samples, truth = gaussian(deviation, generator)
    ranks = posterior.rank_histogram(samples, truth)
    assert (ranks[0] > 2 * ranks[COUNT // 2]) == ends_are_high
    for level in (0.3, 0.5, 0.8):
        assert (posterior.coverage(ranks, level) < level - 0.05) == ends_are_high
    variance, error = (float(one.mean()) for one in posterior.variance_and_error(samples, truth))
    # the mean of n samples is off by the truth's deviation, and by its own
    expected = deviation * math.sqrt((1 + 1 / COUNT) / (1 + deviation**2 / COUNT))
    assert posterior.spread_over_error(variance, error, COUNT) == pytest.approx(expected, rel=0.02)


def test_the_spread_over_a_vanishing_error_is_infinite_and_without_a_spread_nothing():
    assert posterior.spread_over_error(0.1, 0.0, 4) == math.inf
    assert math.isnan(posterior.spread_over_error(0.0, 0.0, 4))


def test_the_local_deviation_is_that_of_each_value(generator):
    samples = torch.rand(5, 3, 2, 2, generator=generator)
    each = [
        math.sqrt(sum((float(one) - float(values.mean())) ** 2 for one in values) / 5)
        for values in samples.view(5, 12).T
    ]
    assert posterior.local_deviation(samples) == pytest.approx(sum(each) / 12, rel=1e-5)


def test_one_sample_is_refused():
    one, truth = torch.zeros(1, 4), torch.zeros(4)
    for what, call in {
        "the energy score": lambda: posterior.fair_energy_score(one[0, :1], one[:, :1]),
        "the CRPS": lambda: posterior.fair_crps(one, truth),
        "the spread": lambda: posterior.variance_and_error(one, truth),
        "the rank histogram": lambda: posterior.rank_histogram(one, truth),
    }.items():
        with pytest.raises(TimError, match=f"^{what} compares samples .* at least 2 of each input, not 1$"):
            call()


def test_figures_do_not_depend_on_how_many_coordinates_are_taken_at_once(generator, monkeypatch):
    samples, gt = torch.rand(4, 3, 6, 5, generator=generator), torch.rand(1, 3, 6, 5, generator=generator)
    features = [[torch.rand(1, 7, 3, 2, generator=generator), torch.rand(1, 4, 1, 1, generator=generator)]]
    features += [[torch.rand_like(one) for one in features[0]] for _ in range(3)]
    target = [torch.rand_like(one) for one in features[0]]
    distances = (torch.rand(4, generator=generator), torch.ones(4, 4) - torch.eye(4))
    metrics = ("energy_score", "crps", "spread_over_error", "coverage")

    def figures():
        row = calibration.posterior_row(metrics, (samples, gt), (features, target), distances)
        return calibration.posterior_figures([row, row], metrics)

    whole = figures()
    monkeypatch.setattr(calibration, "AT_ONCE", 12)
    parts = figures()
    for name in ("crps", "spread_over_error"):
        assert parts[name] == pytest.approx(whole[name])
    for space in calibration.SPACES:
        assert parts["coverage"][space] == pytest.approx(whole["coverage"][space])
        assert sum(whole["rank_histogram"][space]) == pytest.approx(1)
    # features weigh as in the distance: mean over positions, sum over channels and layers
    maps = [torch.cat([one[layer] for one in features]) for layer in range(2)]
    crps = sum(
        float(posterior.fair_crps(one.flatten(1), true.flatten()).view(true.shape).mean(dim=(2, 3)).sum())
        for one, true in zip(maps, target, strict=True)
    )
    assert whole["crps"]["features"] == pytest.approx(crps, rel=1e-5)
    roots = distances[0].double().sqrt().mean() - 0.5  # pairs are at distance 1
    assert whole["energy_score"]["features"] == pytest.approx(float(roots))
