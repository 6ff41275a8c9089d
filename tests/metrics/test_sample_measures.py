"""Measures of samples against brute force, and their limits."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from tim_plugin.metrics.sample_measures import best_of_curve, faithfulness_weighted_variance, pair_mean, space_score
from tim_plugin.utils.errors import TimError


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def test_pair_mean_is_the_mean_over_pairs(generator):
    points = torch.rand(5, 3, generator=generator)
    distances = torch.cdist(points, points)
    pairs = [float((points[i] - points[j]).norm()) for i in range(5) for j in range(5) if i != j]
    assert pair_mean(distances) == pytest.approx(sum(pairs) / len(pairs), abs=1e-6)
    order = torch.randperm(5, generator=generator)
    assert pair_mean(distances[order][:, order]) == pytest.approx(pair_mean(distances), abs=1e-12)
    assert pair_mean(torch.zeros(4, 4)) == 0


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_faithfulness_weighted_variance_is_its_formula(squared, reduction, generator):
    to_gt, to_mean = torch.rand(6, generator=generator), torch.rand(6, generator=generator)
    terms = [
        math.exp(-(d**2 if squared else d) / (2 * 0.2**2)) * v
        for d, v in zip(to_gt.tolist(), to_mean.tolist(), strict=True)
    ]
    found = faithfulness_weighted_variance(to_gt, to_mean, 0.2, squared=squared, reduction=reduction)
    assert found == pytest.approx(sum(terms) / (6 if reduction == "mean" else 1), rel=1e-6)
    order = torch.randperm(6, generator=generator)
    again = faithfulness_weighted_variance(to_gt[order], to_mean[order], 0.2, squared=squared, reduction=reduction)
    assert again == pytest.approx(found, rel=1e-12)
    assert faithfulness_weighted_variance(to_gt, torch.zeros(6), 0.2) == 0


def test_faithful_samples_weigh_more():
    spread = torch.full((4,), 0.3)
    near, far = (faithfulness_weighted_variance(torch.full((4,), d), spread, 0.15) for d in (0.1, 0.4))
    assert near > far > 0


def test_space_score_is_its_formula(generator):
    maps = torch.rand(4, 3, 5, generator=generator)
    least = min(float(one.mean()) for one in maps)
    local = sum(min(float(one[y, x]) for one in maps) for y in range(3) for x in range(5)) / 15
    assert space_score(maps) == pytest.approx(100 * (least - local) / least, rel=1e-5)
    assert space_score(maps.flip(0)) == pytest.approx(space_score(maps), rel=1e-12)
    assert space_score(maps[:1].expand(4, -1, -1)) == pytest.approx(0, abs=1e-12)
    assert space_score(torch.zeros(3, 2, 2)) == 0


def test_best_of_curve_is_the_mean_over_all_choices(generator):
    distances = torch.rand(3, 5, generator=generator)
    for k, found in enumerate(best_of_curve(distances), start=1):
        chosen = [min(one) for row in distances.tolist() for one in itertools.combinations(row, k)]
        assert found == pytest.approx(sum(chosen) / len(chosen), rel=1e-6)
    shuffled = distances[:, torch.randperm(5, generator=generator)]
    assert best_of_curve(shuffled) == pytest.approx(best_of_curve(distances), rel=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pair_mean(torch.zeros(1, 1)), "diversity .* at least 2"),
        (lambda: faithfulness_weighted_variance(torch.ones(1), torch.ones(1), 0.3), "fwv .* at least 2"),
        (lambda: faithfulness_weighted_variance(torch.ones(2), torch.ones(2), 0), "sigma 0 must be more than 0"),
        (
            lambda: faithfulness_weighted_variance(torch.ones(2), torch.ones(2), 1, reduction="max"),
            "'max' must be mean or sum",
        ),
        (lambda: space_score(torch.ones(1, 2, 2)), "at least 2"),
    ],
)
def test_one_sample_or_a_wrong_option_is_an_error(call, message):
    with pytest.raises(TimError, match=message):
        call()
