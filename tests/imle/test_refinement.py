"""Beyond the paper: gradient steps on the latents that a search has chosen."""

from __future__ import annotations

import pytest
import torch

from tim_plugin.imle.latents import Latents
from tim_plugin.imle.pyramid import pyramids_of
from tim_plugin.imle.refinement import refined
from tim_plugin.imle.types import Known, features_of_target
from tim_plugin.losses.distance import PerceptualDistance, PixelDistance
from tim_plugin.options.schema import ImleSpec
from tim_plugin.options.values import build_spec
from tim_plugin.utils.errors import TimError

LEVELS = range(4)


@pytest.fixture
def given(tiny_tower):
    """A tower, pyramids of three examples, and latents of theirs."""
    tower, generator = tiny_tower(), torch.Generator().manual_seed(1)
    lq, gt = torch.rand(3, 3, 2, 2, generator=generator), torch.rand(3, 3, 32, 32, generator=generator)
    return tower, pyramids_of({"lq": lq, "gt": gt}, tower), Latents.draw(tower.latent_shapes(2, 2), 3, generator)


def compared(tower, distance, pyramids, latents):
    with torch.no_grad():
        images = tower(pyramids.conditions, latents)
    found = [
        distance.distance(distance.features(image), features_of_target(distance, target))
        for image, target in zip(images, pyramids.targets, strict=True)
    ]
    return torch.stack(found, dim=1)


def norms(latents):
    return torch.stack([one.flatten(1).norm(dim=1) for level in latents for one in level])


def test_every_example_comes_nearer_and_no_latent_s_norm_changes(given):
    tower, pyramids, latents = given
    before = compared(tower, PixelDistance(), pyramids, latents)
    found, distances = refined(tower, PixelDistance(), pyramids, latents, LEVELS, 2, 0.1)
    assert (distances.sum(dim=1) < before.sum(dim=1)).all()
    torch.testing.assert_close(distances, compared(tower, PixelDistance(), pyramids, found))
    torch.testing.assert_close(norms(found), norms(latents))
    moved = [
        one - old for level, before in zip(found, latents, strict=True) for one, old in zip(level, before, strict=True)
    ]
    moved = torch.stack([one.flatten(1).norm(dim=1) for one in moved])
    assert (moved <= 0.21 * norms(latents)).all()  # two steps of a tenth
    assert not any(one.requires_grad for level in found for one in level)
    assert all(one.grad is None for one in tower.parameters())


def test_a_step_leads_down_the_gradient(given):
    tower, pyramids, latents = given
    leaves = latents.map(lambda one: one.clone().requires_grad_())
    images = tower(pyramids.conditions, leaves)
    sum((image - target).square().mean() for image, target in zip(images, pyramids.targets, strict=True)).backward()
    found, _ = refined(tower, PixelDistance(), pyramids, latents, LEVELS, 1, 0.01)
    for level, old, leaf in zip(found, latents, leaves, strict=True):
        for one, before, slope in zip(level, old, (leaf.noise.grad, leaf.style.grad), strict=True):
            along = -(one - before).flatten(1)
            tangent = slope.flatten(1) - before.flatten(1) * (
                (slope * before).flatten(1).sum(1, keepdim=True) / before.flatten(1).square().sum(1, keepdim=True)
            )  # the norm is kept, so that what leads outwards does not count
            assert (torch.nn.functional.cosine_similarity(along, tangent) > 0.99).all()


def test_where_no_step_comes_nearer_the_search_s_latents_stay(given):
    tower, pyramids, latents = given
    pyramids = pyramids._replace(targets=list(tower(pyramids.conditions, latents)))  # nothing can be nearer
    pyramids = pyramids._replace(targets=[one.detach() for one in pyramids.targets])
    found, distances = refined(tower, PixelDistance(), pyramids, latents, LEVELS, 3, 0.5)
    assert distances.abs().max() < 1e-12
    for level, old in zip(found, latents, strict=True):
        assert all(torch.equal(one, before) for one, before in zip(level, old, strict=True))


def test_an_example_is_refined_alike_alone_and_with_others_and_with_known_features(given):
    tower, pyramids, latents = given
    distance = PerceptualDistance("tim_small", weights="bundled", calibration="bundled")
    together, _ = refined(tower, distance, pyramids, latents, LEVELS, 2, 0.1)
    alone = pyramids_of({"lq": pyramids.conditions[0].image[1:2], "gt": pyramids.targets[-1][1:2]}, tower)
    known = [Known(distance.features(one), one) for one in alone.targets]
    found, _ = refined(tower, distance, alone._replace(targets=known), latents.index([1]), LEVELS, 2, 0.1)
    for level, other in zip(found, together, strict=True):
        for one, same in zip(level, other, strict=True):
            torch.testing.assert_close(one, same[1:2], atol=1e-4, rtol=1e-3)


def test_levels_that_the_loss_does_not_see_do_not_count(given):
    tower, pyramids, latents = given
    _, distances = refined(tower, PixelDistance(), pyramids, latents, range(3, 4), 2, 0.1)
    assert distances.shape == (3, 1)
    assert (distances[:, 0] < compared(tower, PixelDistance(), pyramids, latents)[:, 3]).all()
    found, _ = refined(tower, PixelDistance(), pyramids, latents, range(1), 1, 0.1)
    assert torch.equal(found[3].noise, latents[3].noise) and not torch.equal(found[0].noise, latents[0].noise)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"refine_steps": -1}, "imle: refine_steps must be at least 0"),
        ({"refine_steps": 1.5}, "imle: refine_steps must be a whole number"),
        ({"refine_size": 0}, "imle: refine_size must be more than 0"),
    ],
)
def test_options_are_checked(section, message):
    with pytest.raises(TimError, match=message):
        build_spec(ImleSpec, section)
