"""Bicubic resizing against BasicSR's imresize, and the projection onto the images that degrade to the LQ."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from basicsr.utils.matlab_functions import imresize

from tim_plugin.degradations import bicubic
from tim_plugin.degradations.base import Observed
from tim_plugin.degradations.bicubic import Bicubic, bicubic_downsample, lr_psnr, project, project_for_saving
from tim_plugin.degradations.saving import out_of_reach
from tim_plugin.degradations.unknown import Unknown
from tim_plugin.imle.pyramid import condition_pyramid, target_pyramid
from tim_plugin.options.tower_spec import TowerSpec
from tim_plugin.utils import resize
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.images import write_png
from tim_plugin.utils.resize import bicubic_matrix, bicubic_resize


@pytest.mark.parametrize(
    ("size", "factor"),
    [((64, 48), 1 / 16), ((256, 160), 1 / 16), ((30, 42), 1 / 2), ((17, 23), 2), ((32, 80), 1 / 8), ((9, 7), 4)],
)
def test_resize_equals_basicsr(size, factor):
    image = torch.rand(3, *size, generator=torch.Generator().manual_seed(0))
    expected = imresize(image, factor)
    assert torch.allclose(bicubic_resize(image, tuple(expected.shape[-2:])), expected, atol=1e-5)


@pytest.mark.parametrize(("in_px", "out_px"), [(16, 1), (1, 16), (7, 7), (33, 5), (5, 33)])
def test_a_flat_image_stays_flat(in_px, out_px):
    assert torch.allclose(bicubic_matrix(in_px, out_px).sum(dim=1), torch.ones(out_px, dtype=torch.float64))


SIZES = [((64, 48), (4, 3)), ((34, 21), (5, 7)), ((16, 16), (16, 16)), ((32, 48), (1, 3))]


@pytest.mark.parametrize(("hq", "lq"), SIZES)
def test_projection_reaches_the_lq_is_idempotent_and_leaves_a_consistent_image_alone(hq, lq):
    generator = torch.Generator().manual_seed(0)
    images, given = torch.rand(2, 3, *hq, generator=generator), torch.rand(2, 3, *lq, generator=generator)
    projected = project(images, given)
    assert torch.allclose(bicubic_resize(projected, lq), given, atol=1e-5)
    assert torch.allclose(project(projected, given), projected, atol=1e-5)
    consistent = project(images, bicubic_resize(images, lq))
    assert torch.allclose(consistent, images, atol=1e-5)


def test_projection_is_the_nearest_consistent_image():
    generator = torch.Generator().manual_seed(1)
    image, given = (torch.rand(1, 1, *size, generator=generator).double() for size in ((12, 8), (3, 2)))
    operator = torch.kron(bicubic_matrix(12, 3), bicubic_matrix(8, 2))
    missing = given.flatten() - operator @ image.flatten()
    nearest = image.flatten() + torch.linalg.pinv(operator) @ missing  # the least-norm correction, by brute force
    assert torch.allclose(project(image, given).flatten(), nearest)


def test_projection_passes_gradcheck():
    image, given = (torch.rand(1, 2, *size, dtype=torch.float64, requires_grad=True) for size in ((8, 10), (2, 3)))
    assert torch.autograd.gradcheck(project, (image, given))


def test_saved_images_degrade_to_their_lq(tmp_path, photos):
    """45 dB on the PNG as it is read back, with BasicSR's own down-sampling."""
    gt = torch.from_numpy(cv2.imread(str(next(photos.glob("*.png"))))[..., ::-1].copy()).permute(2, 0, 1) / 255
    lq = bicubic_downsample(gt, 16)[None]
    raw = torch.rand(4, 3, 64, 80, generator=torch.Generator().manual_seed(0)) * 1.4 - 0.2
    saved, db = project_for_saving(raw, lq.expand(4, -1, -1, -1))
    assert (db >= 45).all()
    assert torch.equal(saved, saved.mul(255).round() / 255)
    assert torch.allclose(lr_psnr(saved, lq.expand(4, -1, -1, -1)), db)
    for index, image in enumerate(saved):
        write_png(tmp_path / f"{index}.png", image)
        read = cv2.imread(str(tmp_path / f"{index}.png"))
        down = imresize(read.astype(np.float32) / 255, 1 / 16).clip(0, 1) * 255
        error = down.round() - lq[0].permute(1, 2, 0).numpy()[..., ::-1] * 255
        assert 10 * np.log10(255**2 / np.mean(error**2)) >= 45


def test_an_lq_that_no_image_reaches_gives_the_best_found():
    lq = (torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0)) > 0.5).float()  # black and white pixels
    start = torch.full((1, 3, 64, 64), 0.5)
    saved, db = project_for_saving(start, lq)
    assert db < 45
    assert db > lr_psnr(start, lq) + 10
    assert 0 <= saved.min() and saved.max() <= 1


@pytest.fixture
def projections(monkeypatch):
    """Counts the projections of saving."""
    calls = []
    monkeypatch.setattr(bicubic, "project", lambda images, lq: calls.append(len(images)) or project(images, lq))
    return calls


def test_a_thumbnail_of_another_resampler_takes_few_rounds(projections):
    """By nearest neighbour, where clipping undoes part of each projection: going just as far as it takes 13 rounds."""
    data = pytest.importorskip("skimage.data")
    lq = torch.from_numpy(data.coffee()[104:356:8, 104:356:8].copy()).permute(2, 0, 1)[None] / 255
    start = project(torch.nn.functional.interpolate(lq, scale_factor=8, mode="bicubic"), lq)
    _, db = project_for_saving(start, lq)
    assert db >= 45 and 2 <= len(projections) <= 9


def test_what_is_out_of_reach_is_given_up(projections):
    lq = (torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    alone, db = project_for_saving(torch.full((1, 3, 64, 64), 0.5), lq)
    assert db < 45 and 10 <= len(projections) <= 30
    easy = torch.full((1, 3, 4, 4), 0.5)
    both, found = project_for_saving(torch.full((2, 3, 64, 64), 0.5), torch.cat([easy, lq]))
    assert torch.equal(both[1:], alone) and found[0] == 100  # whatever shares its batch


def test_what_would_still_come_there_is_not_given_up():
    gains = torch.tensor([[1.0, 0.2, 0.0]]) * torch.arange(11)[:, None]
    now = list(30 + gains)
    assert out_of_reach(now[:-1], 45, 30).tolist() == [False] * 3  # too early to tell
    assert out_of_reach(now, 45, 30).tolist() == [False, True, True]


def test_lr_psnr_of_a_perfect_and_of_a_bad_image():
    lq = torch.full((1, 3, 2, 2), 0.5)
    assert (lr_psnr(torch.full((1, 3, 32, 32), 0.5), lq) == 100).all()
    assert torch.allclose(lr_psnr(torch.zeros(1, 3, 32, 32), lq), torch.tensor([20 * np.log10(255 / 128)]))


def test_pyramids_have_the_levels_sizes():
    lq, gt = torch.rand(2, 3, 4, 6), torch.rand(2, 3, 64, 96)
    assert [tuple(t.shape[-2:]) for t in target_pyramid(gt, 4)] == [(8, 12), (16, 24), (32, 48), (64, 96)]
    assert target_pyramid(gt, 4)[-1] is gt
    first, *above = condition_pyramid(Observed(lq), TowerSpec(), Bicubic(16))
    assert first == (lq, None) and above == [(None, None)] * 3
    every = condition_pyramid(Observed(lq), TowerSpec(condition_every_level=True), Bicubic(16))
    assert [tuple(t.image.shape[-2:]) for t in every] == [(4, 6), (8, 12), (16, 24), (32, 48)]
    projected = condition_pyramid(Observed(lq), TowerSpec(consistency="project"), Bicubic(16))
    assert all(condition.given["lq"] is lq for condition in projected)
    spec = TowerSpec(num_levels=3, placement="same", trunk_channels=4, growth_channels=4)
    same = condition_pyramid(Observed(gt), spec, Unknown())
    assert [tuple(t.image.shape[-2:]) for t in same] == [(16, 24), (32, 48), (64, 96)]
    with pytest.raises(TimError, match="30x64 .* multiples of 8"):
        target_pyramid(torch.rand(1, 3, 64, 30), 4)


def test_odd_sizes_equal_basicsr():
    """imresize takes a factor: one that leads from 33x27 to exactly 11x9, and from 35 to 7."""
    for size, factor in (((33, 27), 1 / 3), ((35, 45), 1 / 5), ((31, 13), 3)):
        image = torch.rand(3, *size, generator=torch.Generator().manual_seed(1))
        expected = imresize(image, factor)
        assert expected.shape[-2:] == tuple(round(side * factor) for side in size)
        assert torch.allclose(bicubic_resize(image, tuple(expected.shape[-2:])), expected, atol=1e-5)


def test_matrices_kept_in_inference_mode_serve_training():
    with torch.inference_mode():
        project(torch.rand(1, 1, 22, 26, dtype=torch.float64), torch.rand(1, 1, 11, 13, dtype=torch.float64))
    images = torch.rand(1, 1, 22, 26, dtype=torch.float64, requires_grad=True)
    project(images, torch.rand(1, 1, 11, 13, dtype=torch.float64)).square().sum().backward()
    assert images.grad.abs().sum() > 0


def test_large_matrices_are_not_kept():
    before = resize._kept.cache_info().currsize
    assert bicubic_resize(torch.rand(1, 2000, 4), (500, 4)).shape == (1, 500, 4)
    assert resize._kept.cache_info().currsize <= before + 1  # only the 4x4 one


def test_noise_around_a_real_photograph_is_saved_consistently(tmp_path):
    """What an untrained network may give around the LQ of a 256x256 photograph; the PNG counts, BasicSR measures."""
    data = pytest.importorskip("skimage.data")
    gt = torch.from_numpy(data.astronaut()[:256, 100:356].copy()).permute(2, 0, 1) / 255
    lq = bicubic_downsample(gt, 16)[None]
    noise = torch.randn(2, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    saved, db = project_for_saving(gt + 0.3 * noise, lq.expand(2, -1, -1, -1))
    assert (db >= 45).all()
    write_png(tmp_path / "a.png", saved[0])
    down = imresize(cv2.imread(str(tmp_path / "a.png")).astype(np.float32) / 255, 1 / 16).clip(0, 1) * 255
    error = down.round() - lq[0].permute(1, 2, 0).numpy()[..., ::-1] * 255
    assert 10 * np.log10(255**2 / np.mean(error**2)) >= 45


def test_very_large_images_plane_by_plane_are_as_others(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    gt = torch.rand(2, 3, 70, 40, generator=generator) * 0.4 + 0.3
    lq = bicubic_downsample(gt, 10)
    images = gt + 0.2 * torch.rand(gt.shape, generator=generator)
    before = images.clone()
    whole, db = project(images, lq), lr_psnr(images, lq)
    monkeypatch.setattr("tim_plugin.utils.strips.VERY_LARGE", 0)
    monkeypatch.setattr("tim_plugin.utils.strips.STRIP_VALUES", 32 * 40)
    assert torch.allclose(project(images, lq), whole, atol=1e-5)
    assert torch.allclose(lr_psnr(images, lq), db)
    saved, found = project_for_saving(images, lq)
    assert (found >= 45).all() and torch.allclose(found, lr_psnr(saved, lq))
    assert torch.equal(saved, saved.mul(255).round().div(255)) and torch.equal(images, before)
