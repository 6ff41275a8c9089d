"""Measures of sets on small random features, each against brute force; what finite sets do to them."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch

from tim_plugin.metrics import finite_sets, image_sets
from tim_plugin.metrics.cases import Case
from tim_plugin.metrics.feature_extractors import Extractor
from tim_plugin.metrics.image_sets import FeatureSet
from tim_plugin.metrics.set_measures import Sets, check_sets
from tim_plugin.utils.errors import TimError

GENERATOR = np.random.default_rng(0)
SPREAD = GENERATOR.normal(size=(6, 6)).astype(np.float32)
SAMPLES = GENERATOR.normal(size=(40, 6)).astype(np.float32) @ SPREAD + 0.3
REAL = GENERATOR.normal(size=(20, 6)).astype(np.float32) @ SPREAD


class Means(torch.nn.Module):
    """Six features of an image: the mean, and the mean square, of each channel."""

    def forward(self, x):
        images = x.float() / 255
        return (torch.cat([images.mean(dim=(2, 3)), images.square().mean(dim=(2, 3))], dim=1),)


def of(features):
    found = FeatureSet(Extractor(Means(), "means", "frechet", "kernel", "0", 6))
    for part in np.array_split(features, 3):
        found.take(part)
    return found


def frechet(first, second):
    """By the matrices' root, in double precision."""
    first, second = first.astype(np.float64), second.astype(np.float64)
    covariances = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1]).real
    means = ((first.mean(axis=0) - second.mean(axis=0)) ** 2).sum()
    return means, np.trace(covariances[0] + covariances[1] - 2 * root)


@pytest.mark.parametrize("count", [20, 4])  # 4: covariances without full rank
def test_the_parts_of_the_frechet_distance_are_those_of_the_matrices_root(count):
    parts = image_sets.frechet_parts(of(SAMPLES), of(REAL[:count]))
    means, spreads = frechet(SAMPLES, REAL[:count])
    assert (parts["means"], parts["spreads"]) == (pytest.approx(means), pytest.approx(spreads, rel=1e-4))
    assert parts["trace_of_samples"] == pytest.approx(np.cov(SAMPLES.astype(float), rowvar=False).trace())
    assert parts["trace_of_ground_truths"] == pytest.approx(np.cov(REAL[:count].astype(float), rowvar=False).trace())
    assert finite_sets.distance_of(parts) == pytest.approx(
        image_sets.frechet_distance(of(SAMPLES), of(REAL[:count])), rel=1e-4
    )


def test_equal_images_have_no_spread():
    same = np.ones((5, 6), dtype=np.float32)
    assert image_sets.frechet_parts(of(same), of(same)) == {
        "means": 0, "spreads": 0, "trace_of_samples": 0, "trace_of_ground_truths": 0
    }  # fmt: skip


def test_density_and_coverage_are_those_of_counting(monkeypatch):
    monkeypatch.setattr(image_sets, "ROWS_AT_ONCE", 7)  # so that sets come in several parts
    samples = SAMPLES[:6]
    found = image_sets.density_coverage(of(samples), of(REAL))
    neighbours = found.pop("neighbours")
    radii = [sorted(np.linalg.norm(one - REAL, axis=1))[neighbours] for one in REAL]
    near = [[np.linalg.norm(one - sample) < r for sample in samples] for one, r in zip(REAL, radii, strict=True)]
    assert found["coverage"] == pytest.approx(np.mean([any(row) for row in near]))
    assert found["density"] == pytest.approx(np.sum(near) / (neighbours * len(samples)))
    assert 0 < found["coverage"] < 1
    assert image_sets.density_coverage(of(REAL), of(REAL))["coverage"] == 1
    with pytest.raises(TimError, match="more than 5 ground truths and 2 samples, not 5 and 40"):
        image_sets.density_coverage(of(SAMPLES), of(REAL[:5]))


def test_coverage_does_not_fall_with_more_samples_of_an_input_as_recall_does():
    each = [REAL + 1 + 0.05 * np.float32(k) for k in range(6)]
    one, many = of(each[0]), of(np.concatenate(each))
    recalls = [image_sets.precision_recall(samples, of(REAL))["recall"] for samples in (one, many)]
    covered = [image_sets.density_coverage(samples, of(REAL))["coverage"] for samples in (one, many)]
    assert recalls[1] < recalls[0] and covered[1] >= covered[0] > 0.9


def test_subsets_are_the_features_of_their_rows():
    rows = np.array([7, 0, 31])
    chosen = of(SAMPLES).subset(rows)
    np.testing.assert_array_equal(chosen.features().numpy(), SAMPLES[rows])
    np.testing.assert_allclose(chosen.statistics()["sigma"], np.cov(SAMPLES[rows].astype(float), rowvar=False))


def test_the_extrapolation_is_the_intercept_of_a_line_through_the_distances_of_fewer_inputs():
    found = finite_sets.extrapolate(of(SAMPLES), of(REAL), 2)
    sizes, distances = np.array(found["points"]).T
    assert set(sizes) == {10, 12, 15, 18, 20} and (found["from_inputs"], found["to_inputs"]) == (10, 20)
    assert distances[-1] == pytest.approx(sum(frechet(SAMPLES, REAL)), rel=1e-5)
    design = np.stack([np.ones_like(sizes), 1 / sizes], axis=1)
    line, *_ = np.linalg.lstsq(design, distances)
    assert found["intercept"] == pytest.approx(line[0])
    assert found["residual"] == pytest.approx(np.sqrt(np.mean((design @ line - distances) ** 2)))


def test_samples_stay_with_their_input_when_fewer_are_taken():
    pairs = np.repeat(np.arange(20), 2)[:, None] + np.array([[0.0, 0.25]])  # two equal samples of each input
    found = finite_sets.extrapolate(of(pairs.astype(np.float32)), of(pairs[::2].astype(np.float32)), 2)
    means = [point[1] for point in found["points"]]
    assert max(means) < 0.1  # a sample of another input than the ground truth's would shift the mean


def test_of_one_distribution_infinitely_many_images_are_much_nearer_than_few():
    generator, found = np.random.default_rng(1), []
    for _ in range(6):
        one, other = (of(generator.normal(size=(400, 12)).astype(np.float32)) for _ in range(2))
        line = finite_sets.extrapolate(one, other, 1)
        found.append((line["points"][-1][1], line["intercept"]))
    few, infinitely_many = np.mean(found, axis=0)
    assert abs(infinitely_many) < few / 5


@pytest.mark.parametrize("subset_size", [1000, 10])  # of all, or of a third of a half
def test_the_deviation_of_the_kernel_distance_is_that_over_new_draws(monkeypatch, subset_size):
    monkeypatch.setattr(image_sets, "KID_SUBSET_SIZE", subset_size)
    generator, found = np.random.default_rng(2), []
    for _ in range(24):
        drawn = of(generator.normal(size=(60, 6)).astype(np.float32) + 0.5), of(generator.normal(size=(60, 6)))
        mean = image_sets.kernel_distance(*drawn)["mean"]
        found.append((mean, finite_sets.kernel_deviation(*drawn, 1)))
    means, deviations = np.array(found).T
    assert 0.7 < np.mean(deviations) / np.std(means, ddof=1) < 1.4


def cases(count, samples=2):
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(count, samples + 1, 3, 4, 4, generator=generator).mul(255).round() / 255
    return [Case(str(number), one[1:], one[0], {}) for number, one in enumerate(images)]


def test_the_floor_measures_other_real_images_in_the_samples_place():
    extractor = Extractor(Means(), "means", "frechet", "kernel", "0", 6)
    others = [case.gt for case in cases(30, 0)]
    sets = Sets(extractor, ("fid", "kid", "prc"), at_infinity=True, floor=others)
    for case in cases(20):
        sets.take(case)
    found = sets.figures()
    assert found["images_in_sets"] == {"samples": 40, "ground_truths": 20, "samples_of_each": 2}
    floor = found.pop("floor")
    assert floor.pop("images") == 20 and floor.pop("frechet_std") > 0
    assert set(floor) == set(found) - {"images_in_sets"} and floor["kernel"]["deviation"] > 0
    subsets = finite_sets.random_subsets(sets.others, 20)
    assert len(subsets) == finite_sets.SUBSETS and {one.count for one in subsets} == {20}
    real = sets.real.features().numpy()
    each = [sum(frechet(one.features().numpy(), real)) for one in subsets]
    assert floor["frechet"] == pytest.approx(np.mean(each), rel=1e-3)
    assert sum(floor["frechet_parts"][key] for key in ("means", "spreads")) == pytest.approx(floor["frechet"])
    assert len(finite_sets.random_subsets(sets.others, 30)) == 1


def test_the_floor_takes_as_many_ground_truths_as_there_are_other_real_images():
    extractor = Extractor(Means(), "means", "frechet", "kernel", "0", 6)
    sets = Sets(extractor, ("fid", "kid"), at_infinity=True, floor=[case.gt for case in cases(19, 0)])
    for case in cases(20):
        sets.take(case)
    floor = sets.floor()
    assert floor["images"] == 19 and floor["frechet_extrapolated"]["to_inputs"] == 19
    assert floor["kernel"]["deviation"] > 0


def test_what_goes_with_nothing_is_refused_before_anything_is_measured(tmp_path, photos):
    for arguments, message in (
        ((("kid",), 20, True, None), "--extrapolate: goes with --metrics fid"),
        ((("fid",), 15, True, None), "--extrapolate: takes 16 ground truths, and there are 15"),
        ((("psnr",), 20, False, photos), "--floor: goes with --metrics fid, kid, prc"),
        ((("fid",), 20, False, tmp_path / "no"), "--floor .*no: there is no such folder"),
        ((("fid",), 20, False, photos), "--floor .*: holds 6 images, fewer than the 20 ground truths"),
    ):
        with pytest.raises(TimError, match=message):
            check_sets(*arguments)
    assert len(check_sets(("fid",), 6, False, photos)) == 6 and check_sets(("fid",), 20, True, None) == []
