"""The perceptual distance: parity with the lpips package, invariances, small images."""

import math

import lpips
import numpy as np
import pytest
import torch
from torch import nn

from tim_plugin.imle.types import Weighted
from tim_plugin.losses.backbones import BACKBONES
from tim_plugin.losses.distance import PerceptualDistance, PixelDistance
from tim_plugin.losses.unit_norm import soft_unit, unit_norm
from tim_plugin.utils.errors import TimError

PACKAGE_NETS = {"vgg16": "vgg", "alexnet": "alex", "squeezenet1_1": "squeeze"}


@pytest.fixture(scope="module", params=BACKBONES)
def backbone(request):
    return request.param


@pytest.fixture(scope="module")
def reference(backbone, tmp_path_factory):
    """The lpips package with a random trunk, and that trunk as a torchvision state dict file."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        reference = lpips.LPIPS(pnet_rand=True, net=PACKAGE_NETS[backbone], verbose=False)
        for name, bias in reference.net.named_parameters():
            if name.endswith("bias"):
                nn.init.normal_(bias, std=0.05)  # torchvision's are all zero, which would not show a bias left out
    # 'slice2.3.weight' in the package is 'features.3.weight' in torchvision.
    state = {f"features.{name.split('.', 1)[1]}": value for name, value in reference.net.state_dict().items()}
    path = tmp_path_factory.mktemp(backbone) / "trunk.pth"
    torch.save(state, path)
    return reference, path


@pytest.fixture(scope="module")
def loaded(backbone, reference):
    return PerceptualDistance(backbone=backbone, weights=str(reference[1]))


@pytest.fixture(scope="module")
def small():
    """The cheapest perceptual distance."""
    return PerceptualDistance(backbone="alexnet", weights="random")


def images(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def pair(num=3, height=48, width=48):
    first = images(num, 3, height, width)
    return first, (first + 0.2 * images(num, 3, height, width, seed=1)).clamp(0, 1)


@pytest.mark.parametrize("calibration", ["lpips", "none"])
def test_equals_the_lpips_package(backbone, reference, loaded, calibration):
    package, path = reference
    distance = loaded
    if calibration == "none":
        distance = PerceptualDistance(backbone=backbone, weights=str(path), calibration="none")
    package.lpips = calibration == "lpips"
    for height, width in ((48, 48), (64, 40)):
        a, b = pair(2, height, width)
        expected = package(a, b, normalize=True).flatten()
        torch.testing.assert_close(distance(a, b), expected, rtol=1e-5, atol=0)
        assert expected.min() > 1e-4


def test_maps_equal_the_lpips_packages_spatial_ones(reference, loaded):
    package = reference[0]
    package.lpips = package.spatial = True
    first, second = pair(2, 64, 40)
    try:
        with torch.no_grad():
            wanted = package(first * 2 - 1, second * 2 - 1)[:, 0]
            found = loaded.maps(loaded.features(first), loaded.features(second), (64, 40))
    finally:
        package.spatial = False
    assert found.shape == (2, 64, 40)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)


def test_gradient_equals_the_lpips_package(reference, loaded):
    package, _ = reference
    package.lpips = True
    a, b = pair(1, 32, 32)
    a.requires_grad_()
    (expected,) = torch.autograd.grad(package(a, b, normalize=True).sum(), a)
    (found,) = torch.autograd.grad(loaded(a, b).sum(), a)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5 * float(expected.abs().max()))


def test_golden_values_of_random_features():
    distance = PerceptualDistance(backbone="squeezenet1_1", weights="random", calibration="none", seed=3)
    ramp = torch.linspace(0, 1, 32).expand(1, 3, 32, 32)
    torch.testing.assert_close(distance(ramp, ramp.mT), torch.tensor([1.82038]), rtol=1e-3, atol=0)


def test_is_zero_for_equal_images_and_symmetric(loaded):
    a, b = pair()
    assert torch.equal(loaded(a, a), torch.zeros(3))
    assert torch.equal(loaded(a, b), loaded(b, a))
    assert (loaded(a, b) > 0).all()


@pytest.mark.parametrize("size", [(4, 4), (8, 8), (5, 12), (12, 5), (1, 1), (15, 15)])
def test_small_images_are_enlarged_to_the_smallest_input(backbone, loaded, size):
    a, b = pair(2, *size)
    enlarged = [math.ceil(side * BACKBONES[backbone].min_px / min(size)) for side in size]  # the shape is kept
    by_hand = (nn.functional.interpolate(one, enlarged, mode="bilinear") for one in (a, b))
    found = loaded(a, b)
    assert found.shape == (2,) and (found > 0).all()
    torch.testing.assert_close(found, loaded(*by_hand), rtol=1e-4, atol=0)


def test_the_smallest_input_is_exact(backbone, loaded):
    """Every tap has a position there and fails one pixel below, so that no image is enlarged without need."""
    smallest = BACKBONES[backbone].min_px
    assert len(loaded.trunk(images(1, 3, smallest, smallest))) == len(BACKBONES[backbone].taps)
    with pytest.raises(RuntimeError):
        maps = loaded.trunk(images(1, 3, smallest - 1, smallest - 1))
        if not all(one.numel() for one in maps):
            raise RuntimeError("empty map")


@pytest.mark.parametrize("kind", ["black", "white", "equal", "far out of range", "tiny"])
def test_gradients_are_finite(loaded, kind):
    a = {
        "black": torch.zeros(1, 3, 32, 32),
        "white": torch.ones(1, 3, 32, 32),
        "equal": pair(1, 32, 32)[1],
        "far out of range": images(1, 3, 32, 32) * 2e3 - 1e3,
        "tiny": torch.zeros(1, 3, 2, 2),
    }[kind]
    b = pair(1, *a.shape[-2:])[1]
    a = a.clone().requires_grad_()
    loaded(a, b).sum().backward()
    assert torch.isfinite(a.grad).all()


def test_gradients_are_finite_where_all_features_are_zero():
    """The root in the norm has no derivative at zero: the lpips package gives NaN here."""
    features = torch.zeros(1, 4, 2, 2, requires_grad=True)
    unit = unit_norm(features)
    (unit - 1).square().sum().backward()
    assert torch.equal(unit, torch.zeros_like(unit))
    assert torch.isfinite(features.grad).all()


def test_the_gradient_of_the_unit_norm_is_that_of_its_operations():
    features = torch.randn(2, 5, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(unit_norm, features)


def test_softened_norms_are_small_where_features_are_weak():
    features = torch.rand(2, 4, 8, 8) * torch.tensor([1e-3, 1.0, 2.0, 1.0]).repeat(16).view(1, 1, 8, 8)
    norm = features.norm(dim=1)
    m = norm.square().mean(dim=(1, 2), keepdim=True).sqrt()
    torch.testing.assert_close(soft_unit(features, 0.5).norm(dim=1), norm / (norm**2 + (0.5 * m) ** 2).sqrt())
    torch.testing.assert_close(soft_unit(features, 1e-6), unit_norm(features))
    zero = torch.zeros(1, 4, 2, 2, requires_grad=True)
    soft_unit(zero, 1.0).sum().backward()
    assert torch.isfinite(zero.grad).all()


def test_a_softened_distance_minds_grain_less_beside_an_edge():
    torch.manual_seed(0)
    flat, edge = torch.full((1, 3, 64, 64), 0.5), torch.full((1, 3, 64, 64), 0.2)
    edge[..., 32:] = 0.8
    grainy = edge + 0.01 * torch.randn(1, 3, 64, 64)
    found = {}
    for soften in (0.0, 1.0):
        distance = PerceptualDistance("tim_small", soften=soften)
        found[soften] = float(distance(grainy, edge)) / float(distance(flat, edge))
    assert found[1.0] < 0.95 * found[0.0]
    assert distance.name == "tim_small feature distance, softened by 1"
    assert torch.equal(
        PerceptualDistance("tim_small", soften=0)(grainy, edge), PerceptualDistance("tim_small")(grainy, edge)
    )


def test_a_squared_pixel_difference_is_added():
    a, b = pair(3)
    weighted, plain = PerceptualDistance("tim_small", pixels=20), PerceptualDistance("tim_small")
    torch.testing.assert_close(weighted(a, b), plain(a, b) + 20 * (a - b).square().sum(dim=1).mean(dim=(1, 2)))
    grey = a[:, :1], b[:, :1]  # is compared as R, G and B that are equal
    torch.testing.assert_close(weighted(*grey), plain(*grey) + 60 * (grey[0] - grey[1]).square().flatten(1).mean(dim=1))
    half = torch.zeros(3, 1, *a.shape[-2:])
    half[..., : a.shape[-1] // 2] = 1
    target = weighted.features(Weighted(b, half))
    added = weighted.distance(weighted.features(a), target) - plain.distance(
        plain.features(a), plain.features(Weighted(b, half))
    )
    torch.testing.assert_close(added, 20 * ((a - b).square().sum(dim=1) * half[:, 0]).mean(dim=(1, 2)))
    assert weighted.name == "tim_small feature distance, and 20 times the squared pixel difference"


@pytest.mark.parametrize("backbone, weights", [("tim_small", "bundled"), ("vgg16", "random")])
def test_a_backbone_in_bf16_gives_nearly_the_same_distance_and_gradient(backbone, weights):
    a, b = pair(2)
    found = {}
    for precision in ("fp32", "bf16"):
        distance = PerceptualDistance(backbone, weights=weights, calibration="none", precision=precision)
        image = a.clone().requires_grad_()
        value = distance(image, b)
        value.sum().backward()
        found[precision] = value.detach(), image.grad, distance.name
        assert {one.dtype for one in distance.features(a)} == {torch.float32}
        assert torch.equal(distance(a, a), torch.zeros(2))
    (value, gradient, name), (value_bf16, gradient_bf16, name_bf16) = found.values()
    torch.testing.assert_close(value_bf16, value, rtol=0.02, atol=0)
    assert not torch.equal(value_bf16, value) and name_bf16 == f"{name}, in bf16"
    assert torch.cosine_similarity(gradient_bf16.flatten(), gradient.flatten(), dim=0) > 0.95


def test_an_unknown_precision_is_refused():
    with pytest.raises(TimError, match="^precision 'fp16' is not known: "):
        PerceptualDistance("tim_small", precision="fp16")


@pytest.mark.parametrize("name", ["soften", "pixels"])
@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), True, "1"])
def test_what_is_no_number_of_0_or_more_is_refused(name, value):
    with pytest.raises(TimError, match=f"{name} .* is not a number of 0 or more"):
        PerceptualDistance("tim_small", **{name: value})


@pytest.mark.parametrize("make", [PixelDistance, lambda: PerceptualDistance(backbone="alexnet", weights="random")])
def test_each_item_has_its_own_number(make):
    distance, (a, b) = make(), pair(4)
    together = distance(a, b)
    assert together.shape == (4,)
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(distance(a[order], b[order]), together[order])
    alone = torch.cat([distance(a[i : i + 1], b[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("make", [PixelDistance, lambda: PerceptualDistance(backbone="alexnet", weights="random")])
def test_features_can_be_kept_and_indexed(make):
    distance, (a, b) = make(), pair()
    kept = [one[1:2] for one in distance.features(b)]
    torch.testing.assert_close(distance.distance(distance.features(a[1:2]), kept), distance(a, b)[1:2])


@pytest.mark.parametrize(
    ("seed", "message"),
    [
        ("x", "^seed is the text 'x', a number is needed"),
        (1.5, "^seed must be a whole number, not 1.5"),
        (2**70, "^seed must be a finite number, not a number of more than 64 bits"),
        (-1, "^seed must be at least 0, not -1"),
    ],
)
def test_a_seed_that_is_none_is_refused(seed, message):
    with pytest.raises(TimError, match=message):
        PerceptualDistance("tim_small", weights="random", seed=seed)


@pytest.mark.parametrize("seed", [np.int64(3), torch.tensor(3)])
def test_a_seed_is_a_whole_number_of_any_type(seed):
    plain, distance = (PerceptualDistance("tim_small", weights="random", seed=one) for one in (3, seed))
    assert distance.name == plain.name and torch.equal(distance(*pair()), plain(*pair()))


ANY_DISTANCE = [
    (images(1, 3, 17, 17), images(1, 3, 18, 18), r"a has shape \(1, 3, 17, 17\) and b \(1, 3, 18, 18\): give as many"),
    (images(3, 3, 17, 17), images(2, 3, 17, 17), r"a has shape \(3, .* and b \(2, "),
    (images(3, 17, 17), images(3, 17, 17), r"a has shape \(3, 17, 17\): it must be \(N, C, H, W\): \[None\] adds"),
    (images(1, 3, 0, 17), images(1, 3, 0, 17), r"a is empty, of shape \(1, 3, 0, 17\)"),
    (
        images(1, 3, 17, 17),
        (255 * images(1, 3, 17, 17)).byte(),
        r"b is torch.uint8: .* 8-bit values are b.float\(\) / 255",
    ),
    (255 * images(1, 3, 17, 17), 255 * images(1, 3, 17, 17), r"a has values up to 25\d.*: divide by 255"),
    (images(1, 3, 17, 17), 255 * images(1, 3, 17, 17), r"b has values up to 25\d.*: divide by 255"),
    (2 * images(1, 3, 17, 17) - 1, 2 * images(1, 3, 17, 17) - 1, r"a has values down to -0.99.*\(a \+ 1\) / 2"),
    (images(1, 3, 17, 17).numpy(), images(1, 3, 17, 17), "a is ndarray: give a tensor, the batch first"),
    ("a.png", images(1, 3, 17, 17), "a is str: give a tensor"),
]
OF_THREE_CHANNELS = [
    (images(1, 4, 17, 17), images(1, 4, 17, 17), r"a has shape \(1, 4, 17, 17\): it must be \(N, 3 or 1, H, W\)$"),
    (images(1, 2, 17, 17), images(1, 2, 17, 17), r"it must be \(N, 3 or 1, H, W\)$"),
    (images(1, 17, 17, 3), images(1, 17, 17, 3), r"it must be .*: use a.permute\(0, 3, 1, 2\)$"),
]


@pytest.mark.parametrize(
    ("make", "a", "b", "message"),
    [(make, *case) for make in (PixelDistance, lambda: PerceptualDistance("tim_small")) for case in ANY_DISTANCE]
    + [(lambda: PerceptualDistance("tim_small"), *case) for case in OF_THREE_CHANNELS]
    + [(PixelDistance, images(1, 3, 17, 17), images(1, 1, 17, 17), "a has shape .* of the same size and channels$")],
)
def test_what_cannot_be_compared_is_one_sentence(make, a, b, message):
    with pytest.raises(TimError, match=message):
        make()(a, b)


@pytest.mark.parametrize("make", [PixelDistance, lambda: PerceptualDistance("tim_small")])
def test_a_training_step_looks_at_no_values_but_at_shapes(make):
    made, distance = (20 * images(2, 3, 17, 17)).requires_grad_(), make()
    distance(made, images(2, 3, 17, 17, seed=1)).mean().backward()
    assert made.grad.isfinite().all()
    with pytest.raises(TimError, match="a has values up to 19.9"), torch.no_grad():
        distance(made, images(2, 3, 17, 17, seed=1))
    with pytest.raises(TimError, match="a has shape"):
        distance(made, images(2, 3, 18, 17))
    grey = images(2, 1, 17, 17)
    assert distance(grey, grey).tolist() == [0, 0]


def test_grey_is_compared_with_colour():
    distance, grey, colour = PerceptualDistance("tim_small"), images(2, 1, 17, 17), images(2, 3, 17, 17, seed=1)
    expected = distance(grey.expand(-1, 3, -1, -1), colour)
    assert torch.equal(distance(grey, colour), expected) and torch.equal(distance(colour, grey), expected)


@pytest.mark.parametrize("make", [PixelDistance, lambda: PerceptualDistance("tim_small")])
def test_what_a_network_overshoots_is_measured(make):
    gt = images(2, 3, 17, 17)
    for low, high in ((-0.2, 3.0), (-4.0, 30.0), (-1.0, 1.0)):
        assert (make()(low + (high - low) * images(2, 3, 17, 17, seed=1), gt) > 0).all()


@pytest.mark.skipif(torch.cuda.is_available(), reason="the meta device stands for another where there is no GPU")
def test_another_device_is_named():
    a, distance = images(1, 3, 17, 17), PerceptualDistance("tim_small")
    with pytest.raises(TimError, match="a is on meta and b on cpu: move one of them"):
        distance(a.to("meta"), a)
    with pytest.raises(TimError, match="a and b are on cpu, and the distance on meta"):
        distance.to("meta")(a, a)


def test_pixel_distance_is_the_mean_squared_difference():
    a, b = pair()
    expected = [nn.functional.mse_loss(x, y) for x, y in zip(a, b, strict=True)]
    torch.testing.assert_close(PixelDistance()(a, b), torch.stack(expected))


def test_is_frozen_and_stays_in_eval_mode(small):
    assert not any(parameter.requires_grad for parameter in small.parameters())
    parent = nn.Sequential(small).train()
    assert parent.training and not any(module.training for module in small.modules())


def test_autocast_does_not_change_it(small):
    a, b = pair()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = small(a.bfloat16().float(), b.bfloat16())
    assert torch.equal(found, small(a.bfloat16().float(), b.bfloat16().float()))


def test_double_precision_works():
    distance = PerceptualDistance(backbone="alexnet", weights="random")
    a, b = pair(1)
    expected = distance(a, b)
    found = distance.double()(a.double(), b.double())
    assert found.dtype == torch.float64
    torch.testing.assert_close(found.float(), expected, rtol=1e-4, atol=0)
