"""Colourisation: what is given, what the projection keeps, and what a saved PNG still has of it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from tim_plugin.archs.tower_arch import TowerGenerator
from tim_plugin.degradations.base import Observed
from tim_plugin.degradations.lightness import Lightness
from tim_plugin.inference.image_samples import sample_image
from tim_plugin.utils.color import L_STEP, lightness_of
from tim_plugin.utils.images import read_image, write_png


@pytest.fixture
def photo():
    data = pytest.importorskip("skimage.data")
    return torch.from_numpy(data.coffee()[100:164, 200:280].copy()).permute(2, 0, 1).float() / 255


def skimage_lightness(path):
    from skimage.color import rgb2lab

    return rgb2lab(cv2.imread(str(path))[..., ::-1] / 255.0)[..., 0]


def test_the_lq_is_the_lightness_of_the_gt_as_a_grey_file_holds_it(photo, tmp_path):
    degradation = Lightness()
    lq = degradation.degrade(photo).lq
    assert lq.shape == (1, 64, 80) and 0 <= lq.min() and lq.max() <= 1
    assert (100 * (lq - lightness_of(photo)).abs()).max() <= L_STEP
    content = degradation.encode(photo)
    assert cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED).ndim == 2  # a grey PNG
    assert torch.equal(degradation.read(content, "x").lq, lq)
    write_png(tmp_path / "colour.png", photo)
    assert torch.equal(degradation.read((tmp_path / "colour.png").read_bytes(), "x").lq, lq)
    assert torch.allclose(degradation.degrade(degradation.picture(lq)).lq, lq, atol=1e-6)


def test_saved_pngs_have_the_given_lightness_wherever_it_is_read(photo, tmp_path):
    degradation = Lightness()
    observed = Observed(degradation.degrade(photo).lq.expand(3, -1, -1, -1))
    noise = torch.randn(3, 3, 64, 80, generator=torch.Generator().manual_seed(0))
    saved = degradation.project_for_saving(photo + torch.tensor([0.1, 0.5, 2.0]).view(3, 1, 1, 1) * noise, observed)
    assert degradation.measure(saved, observed)["l_in_step"].min() == 1
    for index, image in enumerate(saved):
        write_png(tmp_path / f"{index}.png", image)
        error = np.abs(skimage_lightness(tmp_path / f"{index}.png") - 100 * observed.lq[index, 0].numpy())
        assert error.max() <= L_STEP
        assert torch.equal(read_image(tmp_path / f"{index}.png").rgb, image)
    assert (saved[0] - saved[2]).abs().mean() > 0.05  # colours are kept apart


def test_projection_is_idempotent_and_leaves_a_consistent_image_alone(photo):
    degradation = Lightness()
    images = photo.double()[None]
    given = {"lq": lightness_of(images)}
    assert torch.allclose(degradation.project(images, given), images, atol=1e-4)
    wild = images + 0.4 * torch.randn(1, 3, 64, 80, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    once = degradation.project(wild, given)
    assert torch.allclose(degradation.project(once, given), once, atol=1e-3)
    assert torch.allclose(lightness_of(once), given["lq"], atol=1e-6)


@pytest.mark.parametrize("size", [(17, 30), (8, 8), (5, 64), (33, 33)])
@pytest.mark.parametrize("consistency", ["off", "project"])
def test_a_tower_of_lightness_answers_inputs_of_any_size_with_their_lightness(size, consistency):
    torch.manual_seed(0)
    tower = TowerGenerator(
        num_in_ch=1,
        placement="same",
        head="ab",
        degradation="lightness",
        consistency=consistency,
        trunk_channels=4,
        growth_channels=4,
        num_blocks=1,
        mapping_width=8,
    ).eval()
    lq = Lightness().degrade(torch.rand(3, *size, generator=torch.Generator().manual_seed(0))).lq[None]
    samples = sample_image(tower, lq, 2, seed=0, image_key="x")
    assert samples.shape == (2, 3, *size)
    within = tower.degradation.measure(samples, Observed(lq))["l_in_step"]
    assert (within == 1).all() if consistency == "project" else (within > 0.3).all()
