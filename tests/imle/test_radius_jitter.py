"""Beyond the paper: a radius of rejection (RS-IMLE), jitter (cIMLE), and how the options beyond it are checked."""

from __future__ import annotations

import pytest
import torch

from tim_plugin.degradations.base import Observed
from tim_plugin.imle.latents import Latents
from tim_plugin.imle.pyramid import condition_pyramid, target_pyramid
from tim_plugin.imle.search import REJECTED, hierarchical, ranks, vanilla
from tim_plugin.losses.distance import PixelDistance
from tim_plugin.options.schema import ImleSpec
from tim_plugin.options.values import build_spec
from tim_plugin.utils.errors import TimError


@pytest.fixture
def problem(tiny_tower):
    torch.manual_seed(3)
    tower = tiny_tower()
    lq, gt = torch.rand(3, 3, 2, 2), torch.rand(3, 3, 32, 32)
    return tower, condition_pyramid(Observed(lq), tower.spec, tower.degradation), target_pyramid(gt, 4)


def generator():
    return torch.Generator().manual_seed(7)


def test_what_is_too_near_is_not_taken():
    keys = ranks(torch.tensor([0.5, 1.0, 2.0, float("nan")]), 0.8)
    assert keys.argsort().tolist()[:3] == [1, 2, 0] and keys[3] == torch.inf
    all_near = ranks(torch.tensor([0.5, 0.7, 0.1]), 0.8)
    assert all_near.argmin() == 1 and all_near.min() > REJECTED / 2
    assert ranks(torch.tensor([0.5, 0.501, 0.4999]), 0.8).argsort().tolist() == [1, 0, 2]


@pytest.mark.parametrize("search", [hierarchical, vanilla])
def test_a_radius_changes_the_choice(problem, search):
    tower, conditions, targets = problem
    plain = search(tower, PixelDistance(), conditions, targets, [8] * 4, generator(), 24)
    radius = [float(one) + 1e-6 for one in plain.distances.amax(dim=0)]
    found = search(tower, PixelDistance(), conditions, targets, [8] * 4, generator(), 24, reject_radius=radius)
    assert (found.distances.sum(dim=1) > plain.distances.sum(dim=1)).all()
    assert torch.isfinite(found.distances).all() and found.distances.max() < REJECTED / 2
    again = search(tower, PixelDistance(), conditions, targets, [8] * 4, generator(), 24, reject_radius=[0.0] * 4)
    assert torch.equal(again.distances, plain.distances)


def test_jitter_is_seeded_noise_of_its_size(problem):
    tower, _, _ = problem
    latents = Latents.draw(tower.latent_shapes(16, 16), 4, generator())
    moved = latents.jittered(0.1, generator())
    again = latents.jittered(0.1, generator())
    assert torch.equal(moved[3].noise, again[3].noise)
    assert float((moved[3].noise - latents[3].noise).std()) == pytest.approx(0.1, rel=0.1)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"jitter": -0.1}, "imle: jitter must be at least 0"),
        ({"shift_px": -1}, "imle: shift_px must be at least 0"),
        ({"shift_px": 0.5}, "imle: shift_px must be a whole number"),
        ({"reject_radius": ["x"]}, "imle: reject_radius is the text 'x'"),
    ],
)
def test_options_are_checked(section, message):
    with pytest.raises(TimError, match=message):
        build_spec(ImleSpec, section)


def test_a_radius_a_level():
    assert ImleSpec(reject_radius=0.5).radii(3) == (0.5, 0.5, 0.5)
    with pytest.raises(TimError, match="reject_radius has 2 entries for 3 levels"):
        ImleSpec(reject_radius=[1, 2]).radii(3)
