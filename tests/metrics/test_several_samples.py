"""Metrics of all samples of an input, as BasicSR's registry calls them and as validation reports them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from basicsr.metrics import calculate_metric

from tim_plugin.inference.image_samples import SampledImage
from tim_plugin.losses.distance import PerceptualDistance
from tim_plugin.metrics.image_metrics import metrics_from_options
from tim_plugin.metrics.lpips_metric import calculate_lpips
from tim_plugin.metrics.sample_measures import faithfulness_weighted_variance, space_score
from tim_plugin.metrics.several_samples import calculate_fwv, calculate_lpips_diversity, calculate_s10
from tim_plugin.metrics.summary import summarise
from tim_plugin.metrics.validation import measure
from tim_plugin.utils.errors import TimError

RANDOM = {"backbone": "alexnet", "weights": "random", "calibration": "none"}


@pytest.fixture(scope="module")
def distance():
    return PerceptualDistance(**RANDOM)


@pytest.fixture
def images():
    """A GT and ten samples, on the 8-bit grid."""
    generator = torch.Generator().manual_seed(0)
    gt = torch.rand(3, 32, 40, generator=generator)
    samples = (gt + 0.3 * torch.randn(10, 3, 32, 40, generator=generator)).clamp(0, 1)
    return (gt * 255).round() / 255, (samples * 255).round() / 255


def bgr(image):
    return (image.flip(0).permute(1, 2, 0) * 255).round().numpy().astype(np.uint8)


@torch.no_grad()
def test_registered_metrics_equal_their_formulas(distance, images):
    gt, samples = images
    data = {"samples": [bgr(one) for one in samples], "img2": bgr(gt)}
    to_gt = torch.tensor([float(distance(one[None], gt[None])) for one in samples])
    mean = samples.mean(dim=0)
    to_mean = torch.tensor([float(distance(one[None], mean[None])) for one in samples])
    found = calculate_metric(data, {"type": "calculate_fwv", "sigma": 0.7, "better": "higher", **RANDOM})
    assert found == pytest.approx(faithfulness_weighted_variance(to_gt, to_mean, 0.7), rel=1e-4) and found > 0
    pairs = [float(distance(a[None], b[None])) for i, a in enumerate(samples) for b in samples[:i]]
    alone = {"samples": data["samples"]}
    found = calculate_metric(alone, {"type": "calculate_lpips_diversity", **RANDOM})
    assert found == pytest.approx(np.mean(pairs), rel=1e-5)
    target = distance.features(gt[None])
    maps = torch.cat([distance.maps(distance.features(one[None]), target, (32, 40)) for one in samples])
    assert calculate_metric(data, {"type": "calculate_s10", **RANDOM}) == pytest.approx(space_score(maps), rel=1e-4)


def test_validation_reports_one_value_an_image_and_their_mean(images):
    gt, samples = images
    section = {
        "spread": {"type": "calculate_lpips_diversity", **RANDOM},
        "s10": {"type": "calculate_s10", **RANDOM},
        "psnr": {"type": "calculate_psnr", "crop_border": 0},
    }
    metrics = metrics_from_options(section, 10)
    rows = [
        measure(SampledImage(name, gt, some, gt), metrics, None) for name, some in (("a", samples), ("b", samples * 0))
    ]
    assert set(rows[0].of_all) == {"spread", "s10"} and set(rows[0].scores) == {"psnr"}
    assert rows[1].of_all == {"spread": 0, "s10": 0}
    summary = summarise(rows, {})
    assert set(summary) == {"spread", "s10", "psnr", "psnr_best"}
    assert summary["spread"] == pytest.approx(rows[0].of_all["spread"] / 2)


def test_too_few_samples_are_named_before_anything_is_computed():
    with pytest.raises(TimError, match="metrics: mine: calculate_s10 takes at least 10 samples .* num_samples is 8"):
        metrics_from_options({"mine": {"type": "calculate_s10"}}, 8)
    with pytest.raises(TimError, match="calculate_fwv takes at least 2 samples"):
        metrics_from_options({"fwv": {"type": "calculate_fwv"}}, 1)
    with pytest.raises(TimError, match="val: metrics: fwv: sigm is no option.*sigma|sigm"):
        metrics_from_options({"fwv": {"type": "calculate_fwv", "sigm": 0.2}}, 8)
    with pytest.raises(TimError, match="calculate_fwv: backbone 'vgg'"):
        metric = metrics_from_options({"fwv": {"type": "calculate_fwv", "backbone": "vgg"}}, 2)["fwv"]
        metric.function([np.zeros((32, 32, 3), np.uint8)] * 2, np.zeros((32, 32, 3), np.uint8))


BLACK = np.zeros((20, 20, 3), np.uint8)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (torch.zeros(3, 20, 20), r"is Tensor: give a numpy array \(H, W, 3\), BGR, or \(H, W\), uint8 from 0 to 255"),
        ("a.png", "is str: give a numpy array"),
        (BLACK > 0, "is an array of bool: give"),
        (BLACK.transpose(2, 0, 1), r"has shape \(3, 20, 20\): it must be \(H, W, 3\)"),
        (BLACK[:0], r"has shape \(0, 20, 3\)"),
        (BLACK + np.float32(0.5), r"has values up to 0.5: they must lie in \[0, 255\], as uint8: multiply by 255"),
        (BLACK + 65535.0, r"has values from 65535 to 65535: they must lie in \[0, 255\]"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_image_of_basicsr_is_named(wrong, message):
    with pytest.raises(TimError, match=rf"^calculate_fwv: samples\[1\] {message}"):
        calculate_fwv([BLACK, wrong], BLACK, **RANDOM)
    with pytest.raises(TimError, match=f"^calculate_lpips: img2 {message}"):
        calculate_lpips(BLACK, wrong, **RANDOM)


def test_samples_of_other_sizes_or_too_few_are_named():
    with pytest.raises(
        TimError, match=r"calculate_lpips_diversity: the images differ in size: \(10, 20\) and \(20, 20\)"
    ):
        calculate_lpips_diversity([BLACK, BLACK[:10]], **RANDOM)
    with pytest.raises(TimError, match="calculate_s10: takes at least 10 samples of an image, and there are 2"):
        calculate_s10([BLACK] * 2, BLACK, **RANDOM)
