"""Our own backbone: what the package holds, small images, gradients, names and errors."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tim_plugin.losses.backbones import open_trunk
from tim_plugin.losses.distance import PerceptualDistance
from tim_plugin.losses.perceptual_loss import PerceptualDistanceLoss
from tim_plugin.losses.tim_small import SmallTrunk
from tim_plugin.utils import bundled
from tim_plugin.utils.bundled import read_weights, write_weights
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.resize import bicubic_resize

LARGEST_BYTES = 2 * 1024**2


@pytest.fixture(scope="module")
def ours():
    return PerceptualDistance(backbone="tim_small", weights="bundled", calibration="bundled")


@pytest.fixture(scope="module")
def two_photos():
    """64x64 of scikit-image's photographs."""
    data = pytest.importorskip("skimage.data")
    images = [torch.from_numpy(one).permute(2, 0, 1).float() / 255 for one in (data.astronaut(), data.coffee())]
    return torch.stack([bicubic_resize(one[:, :384, :384], (64, 64)).clamp(0, 1) for one in images])


def noisy(images, amount):
    drawn = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    return (images + amount * drawn).clamp(0, 1)


def test_the_package_holds_it_in_two_megabytes(ours):
    assert (bundled.FOLDER / "tim_small.safetensors").stat().st_size <= LARGEST_BYTES
    assert all(one.dtype == torch.float32 and not one.requires_grad for one in ours.trunk.parameters())
    assert {one.shape[-1] for one in ours.trunk(torch.rand(1, 3, 64, 64))} == {32, 16, 8, 4}  # four stages


def test_is_zero_for_equal_images_symmetric_and_grows_with_noise(ours, two_photos):
    assert torch.equal(ours(two_photos, two_photos), torch.zeros(2))
    rows = torch.stack([ours(noisy(two_photos, amount), two_photos) for amount in (0.02, 0.05, 0.1, 0.2, 0.4)])
    assert (rows[0] > 0).all() and (rows.diff(dim=0) > 0).all()
    other = noisy(two_photos, 0.1)
    torch.testing.assert_close(ours(two_photos, other), ours(other, two_photos))


def test_sees_colour_and_detail_and_tells_photographs_apart(ours, two_photos):
    other = ours(two_photos, two_photos.flip(0))
    assert (ours(two_photos, two_photos.flip(1)) > 0.1).all()
    assert (ours(two_photos, noisy(two_photos, 0.05)) < other).all()


@pytest.mark.parametrize("size", [(8, 8), (8, 20), (9, 11), (33, 16)])
def test_takes_images_from_8_pixels_as_they_are(ours, size):
    seen = []
    handle = ours.trunk.register_forward_pre_hook(lambda module, given: seen.append(given[0].shape[-2:]))
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1))
    maps = ours.features(images)
    handle.remove()
    assert seen == [torch.Size(size)] and all(one.shape[-1] >= 1 and one.shape[-2] >= 1 for one in maps)
    assert (ours(images, images.flip(-1)) > 0).all()


def test_each_items_number_is_its_own(ours):
    images = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    together = ours(images, images.flip(-1))
    alone = torch.cat([ours(one[None], one[None].flip(-1)) for one in images])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-6)


def test_gradient_is_that_of_finite_differences():
    distance = PerceptualDistance(backbone="tim_small", weights="bundled", calibration="bundled").double()
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.rand(1, 3, 8, 8, dtype=torch.float64, generator=generator) for _ in range(2))
    assert torch.autograd.gradcheck(lambda x: distance(x, b), a.requires_grad_(), eps=1e-6, atol=1e-5, fast_mode=True)


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_gradient_is_finite_on_flat_images(ours, value):
    a = torch.full((1, 3, 8, 8), value, requires_grad=True)
    ours(a, torch.zeros(1, 3, 8, 8) + 0.3).sum().backward()
    assert torch.isfinite(a.grad).all() and a.grad.abs().sum() > 0


def test_no_unit_of_the_first_stage_is_dead(ours, two_photos):
    """Each changes over two photographs, and passes a gradient at a good share of their positions."""
    first = ours.trunk.activations(ours.prepared(two_photos))[0].transpose(0, 1).flatten(1)
    spread = first.std(dim=1)
    assert (spread > 1e-3 * spread.max()).all()
    assert ((first > 0).float().mean(dim=1) > 0.02).all()


def test_random_weights_depend_on_the_seed_alone(two_photos):
    before = torch.get_rng_state()
    first, same, other = (
        PerceptualDistance(backbone="tim_small", weights="random", calibration="none", seed=seed) for seed in (0, 0, 1)
    )
    assert torch.equal(torch.get_rng_state(), before)
    a, b = torch.rand(2, 1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert torch.equal(first(a, b), same(a, b)) and not torch.allclose(first(a, b), other(a, b))
    for one in first.trunk((two_photos - 0.5) / 0.25):
        assert 0.1 < one.square().mean() < 10  # activations keep their size


@pytest.fixture
def own_file(tmp_path):
    trunk = SmallTrunk(channels=(4, 4), squeezed=(2,), halve=(True,), map_channels=(3, 3))
    trunk.randomise(torch.Generator().manual_seed(0))
    state = {f"trunk.{key}": value for key, value in trunk.state_dict().items()} | {"heads": torch.ones(6)}
    write_weights(tmp_path / "own.safetensors", state, trunk.arguments, {})
    return tmp_path / "own.safetensors"


def test_the_name_says_what_was_used(ours, own_file):
    def name(weights, calibration):
        return PerceptualDistance(backbone="tim_small", weights=weights, calibration=calibration).name

    assert ours.name == "tim_small feature distance"
    assert name("bundled", "none") == "tim_small feature distance (bundled weights, uncalibrated)"
    assert name("random", "none") == "tim_small feature distance (random weights, seed 0)"
    assert name(str(own_file), "bundled") == "tim_small feature distance (own.safetensors)"
    assert "LPIPS" not in ours.name


@pytest.mark.parametrize(
    "options, message",
    [
        ({"backbone": "tim_smal"}, r"backbone 'tim_smal' is not known: did you mean 'tim_small'"),
        ({"weights": "imagenet"}, r"'imagenet': there are none for backbone tim_small: use weights: bundled"),
        (
            {"weights": "bundeld"},
            r"weights 'bundeld' is neither bundled nor random nor a file .* did you mean 'bundled'",
        ),
        ({"calibration": "lpips"}, r"calibration 'lpips': the lpips package has no heads for tim_small: use bundled"),
        (
            {"weights": "random"},
            r"calibration 'bundled': weights: random has no heads of its own: use calibration: none",
        ),
        ({"backbone": "alexnet"}, r"weights 'bundled': only tim_small has them, alexnet has not"),
        ({"backbone": "alexnet", "weights": "random"}, r"calibration 'bundled': backbone: alexnet has no heads"),
    ],
)
def test_a_wrong_option_says_what_would_be_right(options, message):
    with pytest.raises(TimError, match=f"perceptual_opt: .*{message}"):
        PerceptualDistanceLoss(**{"backbone": "tim_small", "weights": "bundled", "calibration": "bundled", **options})


def test_a_file_that_does_not_fit_is_named(own_file):
    state, arguments, _ = read_weights(own_file)
    write_weights(own_file, state, {**arguments, "channels": [4, 6]}, {})
    with pytest.raises(TimError, match=r"own.safetensors do not fit backbone tim_small .*tools/train_backbone.py"):
        open_trunk("tim_small", str(own_file))
    write_weights(own_file, {**state, "heads": -state["heads"]}, arguments, {})
    with pytest.raises(TimError, match=r"own.safetensors: heads must be 6 numbers, none of them negative"):
        open_trunk("tim_small", str(own_file))


def test_is_plain(ours):
    kinds = {type(one) for one in ours.trunk.modules() if not list(one.children())}
    assert kinds == {nn.Conv2d, nn.ReLU, nn.MaxPool2d}


def test_a_layer_that_is_named_by_one_list_only_is_an_error():
    with pytest.raises(ValueError, match="squeezed .* one a layer but the first"):
        SmallTrunk(channels=(4, 4), squeezed=(2, 2), halve=(True,), map_channels=(3, 3))


def test_a_fire_module_has_two_halves():
    with pytest.raises(ValueError, match=r"channels \(4, 5\): all but the first must be even"):
        SmallTrunk(channels=(4, 5), squeezed=(2,), halve=(True,), map_channels=(3, 3))


def test_layers_give_maps_where_they_are_asked_for():
    trunk = SmallTrunk(channels=(4, 6, 8), squeezed=(2, 2), halve=(True, True), map_channels=(0, 3, 2))
    assert [tuple(one.shape) for one in trunk(torch.rand(1, 3, 16, 16))] == [(1, 3, 4, 4), (1, 2, 2, 2)]
    assert trunk.channels == (3, 2) and trunk.activation_channels == (6, 8)


@pytest.mark.parametrize("size", [(8, 8), (8, 40), (40, 8)])
def test_the_smallest_side_leaves_every_map_a_position(ours, size):
    assert all(min(one.shape) > 0 for one in ours.trunk(torch.rand(1, 3, *size)))
