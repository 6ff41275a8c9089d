"""Degradations as operators of deepinv, and a tower as its reconstructor."""

from __future__ import annotations

import pytest
import torch

import tim_plugin as tim
from tim_plugin.degradations.bicubic import Bicubic
from tim_plugin.degradations.jpeg import Jpeg
from tim_plugin.degradations.labels import Labels
from tim_plugin.degradations.lightness import Lightness
from tim_plugin.degradations.unknown import Unknown
from tim_plugin.utils.color import rgb_to_lab
from tim_plugin.utils.errors import TimError

deepinv = pytest.importorskip("deepinv", reason="deepinv is not installed")

from tim_plugin.integrations.deepinv import LightnessOfLab, TowerReconstructor, physics_of  # noqa: E402


@pytest.fixture(scope="module")
def pca():
    return tim.load("mnist-pca", device="cpu").degradation


@pytest.fixture
def images():
    return torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(0)) * 0.6 + 0.2


LINEAR = {
    "bicubic 4x": (lambda pca: physics_of(Bicubic(4)), (3, 16, 24), (3, 4, 6)),
    "bicubic 2x": (lambda pca: physics_of(Bicubic(2)), (1, 6, 10), (1, 3, 5)),
    "lightness": (lambda pca: LightnessOfLab(), (3, 5, 6), (1, 5, 6)),
    "pca": (physics_of, (1, 32, 32), (10,)),
}


@pytest.mark.parametrize("name", LINEAR)
def test_linear_operators_have_their_transpose_and_their_pseudo_inverse(name, pca):
    make, shape, measured = LINEAR[name]
    physics = make(pca)
    x, y = (torch.randn(3, *size, dtype=torch.float64) for size in (shape, measured))
    assert isinstance(physics, deepinv.physics.LinearPhysics) and physics.A(x).shape == y.shape
    assert torch.allclose((physics.A(x) * y).sum(), (x * physics.A_adjoint(y)).sum())
    assert physics.adjointness_test(x) < 1e-6  # deepinv's own
    tolerance = 1e-6 if name == "pca" else 1e-10  # a basis that is stored in single precision
    assert torch.allclose(physics.A(physics.A_dagger(y)), y, atol=tolerance)
    other = torch.randn_like(x)  # A+ A is symmetric, as of the smallest images that fit (Moore and Penrose)
    first, second = (physics.A_dagger(physics.A(image)) for image in (x, other))
    assert torch.allclose((first * other).sum(), (x * second).sum())


def test_bicubic_measurements_are_our_lq_before_it_is_rounded(images):
    lq = Bicubic(4).degrade(images).lq
    assert (physics_of(Bicubic(4))(images) - lq).abs().max() <= 0.5 / 255 + 1e-6


def test_lightness_is_that_of_our_lq_in_rgb_and_in_lab(images):
    measured = physics_of(Lightness())(images)
    lq = torch.stack([Lightness().degrade(image).lq for image in images])
    assert measured.shape == (2, 1, 16, 24) and (measured - lq).abs().max() < 0.005
    assert torch.allclose(measured, LightnessOfLab()(rgb_to_lab(images)))


def test_jpegs_are_our_lq_and_the_same_each_time(images):
    physics = physics_of(Jpeg(quality=(5, 50)), seed=3)
    jpegs = [Jpeg((5, 50)).degrade(one, torch.Generator().manual_seed(3)).lq for one in images]
    assert torch.equal(physics(images), torch.stack(jpegs))
    assert torch.equal(physics(images), physics(images)) and not isinstance(physics, deepinv.physics.LinearPhysics)


def test_a_jpeg_or_a_reconstruction_does_not_depend_on_its_place_in_the_batch(images):
    tower = tim.load("sr4x-small", device="cpu")
    jpeg, bicubic = physics_of(Jpeg(quality=(5, 50))), physics_of(tower.degradation)
    model = TowerReconstructor(tower)
    for apply, given in ((jpeg, images), (model, bicubic(images))):
        alone = torch.cat([apply(one[None]) for one in given])
        assert torch.equal(apply(given), alone)
        assert torch.equal(apply(given.flip(0)), alone.flip(0))


def test_arguments_of_deepinv_are_handed_on(images):
    physics = physics_of(Bicubic(4), noise_model=deepinv.physics.GaussianNoise(0.1))
    noise = physics(images) - physics.A(images)
    assert 0.05 < noise.std() < 0.2


@pytest.mark.parametrize("degradation", [Unknown(1), Labels("camvid")])
def test_what_is_no_operator_is_one_sentence(degradation):
    with pytest.raises(TimError, match="inputs are not computed from an image"):
        physics_of(degradation)


@pytest.mark.parametrize("name", ["sr4x-small", "colorize-small"])
def test_deepinvs_own_test_measures_a_tower(name, images):
    tower = tim.load(name, device="cpu")
    physics = physics_of(tower.degradation)
    model = TowerReconstructor(tower, seed=2, sample=1)
    found = model(physics(images), physics)
    pictures = [tower.degradation.picture(one) for one in physics(images)]
    for one, picture in zip(found, pictures, strict=True):
        assert torch.equal(one, tower.sample(picture, n=2, seed=2, name="image_0").images[1])
    loader = torch.utils.data.DataLoader([(image, physics(image[None])[0]) for image in images], batch_size=2)
    metrics = deepinv.test(
        model,
        loader,
        physics,
        metrics=deepinv.metric.PSNR(),
        verbose=False,
        show_progress_bar=False,
        compare_no_learning=False,
    )
    assert metrics["PSNR"] == pytest.approx(float(deepinv.metric.PSNR()(found, images).mean()), rel=1e-4)


def test_a_sampler_of_deepinv_runs_on_our_measurements(images):
    physics = physics_of(Bicubic(4), noise_model=deepinv.physics.GaussianNoise(0.01))
    measured = physics(images[:1, :, :16, :16])
    sampler = deepinv.sampling.ULA(
        prior=deepinv.optim.ScorePrior(denoiser=deepinv.models.MedianFilter()),
        data_fidelity=deepinv.optim.L2(sigma=0.1),
        alpha=0.1,
        sigma=0.5,
        step_size=0.02,
        max_iter=40,
        thinning=1,
        burnin_ratio=0.5,
        verbose=False,
    )
    mean, variance = sampler(measured, physics, seed=0)
    assert mean.shape == variance.shape == (1, 3, 16, 16) and variance.min() > 0
    assert (physics.A(mean) - measured).abs().mean() < 0.2  # it comes to what fits: the adjoint, its start, is at 0.47
    assert (physics.A(physics.A_adjoint(measured)) - measured).abs().mean() > 0.4


def test_a_tower_whose_inputs_are_no_pictures_says_so():
    with pytest.raises(TimError, match="its inputs are no pictures"):
        TowerReconstructor(tim.load("mnist-pca", device="cpu"))
