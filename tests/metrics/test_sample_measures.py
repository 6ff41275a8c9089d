"""Measures of samples against brute force, and their limits."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

import tim_plugin.metrics
from tim_plugin.losses.distance import PixelDistance
from tim_plugin.metrics import diversity, fwv
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


def test_diversity_of_images_is_the_mean_distance_between_pairs(generator):
    images = torch.rand(4, 3, 6, 5, generator=generator)
    pairs = [float((a - b).square().mean()) for a, b in itertools.combinations(images, 2)]
    assert tim_plugin.metrics.diversity(images, PixelDistance()) == pytest.approx(sum(pairs) / 6, rel=1e-5)
    assert tim_plugin.metrics.diversity(images[:1].repeat(3, 1, 1, 1), PixelDistance()) == 0


@pytest.mark.parametrize("sigma", [0.3, 0.15])
def test_fwv_of_images_is_its_formula(sigma, generator):
    images, gt = torch.rand(4, 3, 6, 5, generator=generator), torch.rand(3, 6, 5, generator=generator)
    to_gt, to_mean = ([float((one - other).square().mean()) for one in images] for other in (gt, images.sum(dim=0) / 4))
    expected = sum(math.exp(-d / (2 * sigma**2)) * v for d, v in zip(to_gt, to_mean, strict=True)) / 4
    for one, value in ((gt, sigma), (gt[None], torch.tensor(sigma, dtype=torch.float64))):
        assert tim_plugin.metrics.fwv(images, one, PixelDistance(), value) == pytest.approx(expected, rel=1e-5)
    assert tim_plugin.metrics.fwv(images, gt, PixelDistance(), sigma, reduction="sum") == pytest.approx(
        4 * expected, rel=1e-5
    )
    assert (tim_plugin.metrics.fwv(images, gt, PixelDistance()) == pytest.approx(expected, rel=1e-5)) == (sigma == 0.3)


def test_a_function_of_two_batches_is_a_distance(generator):
    images = torch.rand(4, 3, 6, 5, generator=generator)
    squares = lambda a, b: (a - b).square().mean(dim=(1, 2, 3))  # noqa: E731
    for measure in (diversity, lambda images, distance: fwv(images, images[0], distance)):
        assert measure(images, squares) == pytest.approx(measure(images, PixelDistance()), rel=1e-5)


def test_what_metrics_offers_is_listed_and_nothing_else_is_found():
    assert {"diversity", "fwv"} <= set(dir(tim_plugin.metrics))
    with pytest.raises(AttributeError, match="no attribute 'fvw'"):
        tim_plugin.metrics.fvw  # noqa: B018


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
        (lambda: tim_plugin.metrics.diversity(torch.ones(1, 3, 4, 4), PixelDistance()), "at least 2"),
        (
            lambda: tim_plugin.metrics.diversity(torch.ones(3, 4, 4), PixelDistance()),
            r"\(n, 3, H, W\), .* not \(3, 4, 4\)",
        ),
        (
            lambda: tim_plugin.metrics.fwv(torch.ones(2, 3, 4, 4), torch.ones(3, 4, 5), PixelDistance()),
            r"gt has shape \(1, 3, 4, 5\)",
        ),
        (
            lambda: diversity(255 * torch.ones(2, 3, 4, 4), PixelDistance()),
            "images has values up to 255: .* divide by 255",
        ),
        (
            lambda: diversity(torch.ones(2, 3, 4, 4).byte(), PixelDistance()),
            r"images is torch.uint8: .*\.float\(\) / 255",
        ),
        (
            lambda: diversity(torch.ones(2, 4, 4, 3), PixelDistance()),
            r"images has shape .*: use images.permute\(0, 3, 1, 2\)",
        ),
        (lambda: diversity(np.ones((2, 3, 4, 4)), PixelDistance()), "images is ndarray: give a tensor"),
        (lambda: diversity([torch.ones(3, 4, 4)] * 2, PixelDistance()), "images is list: give a tensor"),
        (
            lambda: diversity(torch.ones(2, 3, 4, 4), "lpips"),
            "distance is str: give a PerceptualDistance or a function",
        ),
        (lambda: fwv(torch.ones(2, 3, 4, 4), 255 * torch.ones(3, 4, 4), PixelDistance()), "gt has values up to 255"),
        (lambda: fwv(torch.ones(2, 3, 4, 4), np.ones((3, 4, 4)), PixelDistance()), "gt is ndarray: give a tensor"),
        (
            lambda: fwv(torch.ones(2, 3, 4, 4), torch.ones(3, 4, 4), None),
            "distance is NoneType: give a PerceptualDistance",
        ),
        (
            lambda: fwv(torch.ones(2, 3, 4, 4), torch.ones(3, 4, 4), PixelDistance(), sigma="0.3"),
            "fwv: sigma is the text '0.3', a number is needed",
        ),
    ],
)
def test_one_sample_or_a_wrong_option_is_an_error(call, message):
    with pytest.raises(TimError, match=message):
        call()
