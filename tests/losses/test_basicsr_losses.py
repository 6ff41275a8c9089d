"""The distances as BasicSR losses, and LPIPS as a BasicSR metric."""

import numpy as np
import pytest
import torch
from basicsr.losses import build_loss
from basicsr.metrics import calculate_metric

from tim_plugin.losses.distance import PerceptualDistance, PixelDistance
from tim_plugin.losses.perceptual_loss import PerceptualDistanceLoss, PixelDistanceLoss
from tim_plugin.metrics.lpips_metric import calculate_lpips
from tim_plugin.utils.errors import TimError

OPTIONS = {"backbone": "alexnet", "weights": "random", "calibration": "none", "seed": 2}


@pytest.fixture(scope="module")
def distance():
    return PerceptualDistance(**OPTIONS)


def image_pair(*shape):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, *shape, generator=generator).unbind()


def uint8_pair(*shape):
    first = np.random.default_rng(0).integers(0, 256, (2, *shape), dtype=np.uint8)
    return first[0], first[1]


def to_tensor(bgr):
    return torch.from_numpy(bgr[..., ::-1].astype(np.float32).transpose(2, 0, 1).copy())[None] / 255


def test_perceptual_loss_is_the_weighted_mean_distance(distance):
    loss = build_loss({"type": "PerceptualDistanceLoss", "loss_weight": 0.5, **OPTIONS})
    pred, gt = image_pair(3, 3, 32, 32)
    value, style = loss(pred, gt)
    assert value.shape == () and style is None
    torch.testing.assert_close(value, 0.5 * distance(pred, gt).mean())
    assert loss.distance.name == distance.name and loss.loss_weight == 0.5


def test_pixel_loss_is_the_weighted_mean_distance():
    loss = build_loss({"type": "PixelDistanceLoss", "loss_weight": 2})
    pred, gt = image_pair(3, 3, 8, 8)
    value, style = loss(pred, gt)
    assert style is None and isinstance(loss.distance, PixelDistance)
    torch.testing.assert_close(value, 2 * torch.nn.functional.mse_loss(pred, gt))


def test_gradients_reach_the_prediction_only():
    loss = PerceptualDistanceLoss(**OPTIONS)
    pred, gt = image_pair(1, 3, 32, 32)
    pred.requires_grad_()
    loss(pred, gt)[0].backward()
    assert pred.grad.abs().sum() > 0
    assert not any(parameter.requires_grad for parameter in loss.parameters())


@pytest.mark.parametrize("weight", [0, -1.0, float("nan"), float("inf"), "1e-2", True, None])
def test_loss_weight_is_a_positive_number(weight):
    with pytest.raises(TimError, match="loss_weight .* is not a number above 0"):
        PixelDistanceLoss(loss_weight=weight)


def test_errors_name_the_section():
    with pytest.raises(TimError, match="perceptual_opt: backbone 'alexnt' is not known: did you mean 'alexnet'"):
        PerceptualDistanceLoss(backbone="alexnt")
    with pytest.raises(TimError, match="calculate_lpips: calibration 'lpis' is not known: did you mean 'lpips'"):
        calculate_lpips(*uint8_pair(32, 32, 3), **{**OPTIONS, "calibration": "lpis"})


def test_unknown_options_are_refused():
    with pytest.raises(TypeError, match="backbon"):
        PerceptualDistanceLoss(backbon="alexnet")
    with pytest.raises(TypeError, match="backbon"):
        calculate_lpips(*uint8_pair(32, 32, 3), backbon="alexnet")


def test_metric_equals_the_distance(distance):
    img, gt = uint8_pair(40, 48, 3)
    found = calculate_metric({"img": img, "img2": gt}, {"type": "calculate_lpips", "better": "lower", **OPTIONS})
    assert isinstance(found, float)
    assert found == pytest.approx(distance(to_tensor(img), to_tensor(gt)).item(), rel=1e-6)


def test_metric_crops_the_border(distance):
    img, gt = uint8_pair(40, 48, 3)
    found = calculate_lpips(img, gt, crop_border=4, **OPTIONS)
    inner = to_tensor(img[4:-4, 4:-4]), to_tensor(gt[4:-4, 4:-4])
    assert found == pytest.approx(distance(*inner).item(), rel=1e-6)


@pytest.mark.parametrize("shape", [(32, 32), (32, 32, 1)])
def test_metric_takes_grey_images_and_floats(shape):
    img, gt = uint8_pair(*shape)
    grey = calculate_lpips(img, gt.astype(np.float64), **OPTIONS)
    colour = (np.repeat(one.reshape(32, 32, 1), 3, axis=2) for one in (img, gt))
    assert grey == pytest.approx(calculate_lpips(*colour, **OPTIONS), rel=1e-6)


def test_metric_refuses_images_that_cannot_be_compared():
    img, gt = uint8_pair(32, 32, 3)
    with pytest.raises(ValueError, match="differ in size"):
        calculate_lpips(img, gt[:30], **OPTIONS)
    with pytest.raises(ValueError, match="crop_border 16 leaves nothing"):
        calculate_lpips(img, gt, crop_border=16, **OPTIONS)


def test_metric_builds_its_network_once(monkeypatch):
    from tim_plugin.metrics import lpips_metric

    built = []
    monkeypatch.setattr(
        lpips_metric, "PerceptualDistance", lambda **options: built.append(options) or PerceptualDistance(**options)
    )
    for _ in range(3):
        calculate_lpips(*uint8_pair(32, 32, 3), **{**OPTIONS, "seed": 99})
    assert len(built) == 1
