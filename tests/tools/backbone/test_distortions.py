"""Distortions: none at strength 0, more of the same at a greater one, the same for the same seed."""

from __future__ import annotations

import pytest
import torch

from backbone.crop_versions import descend, distort, draw_versions
from backbone.distortions import FAMILIES
from tim_plugin.degradations.bicubic import bicubic_downsample
from tim_plugin.losses.distance import PixelDistance
from tim_plugin.utils.images import list_images, read_image


@pytest.fixture
def images(photos):
    return torch.stack([read_image(path).rgb[:, :32, :32] for path in list_images(photos)[:3]])


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("side", [8, 24, 32])
def test_a_family_keeps_range_size_and_seed(images, name, side):
    images = images[..., :side, :side]
    strength, before = torch.tensor([0.2, 0.6, 1.0]), torch.get_rng_state()
    first, same, other = (FAMILIES[name](images, strength, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert first.shape == images.shape and first.min() >= 0 and first.max() <= 1
    assert torch.equal(first, same) and torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(first, images)
    if name not in ("blur", "jpeg", "shrink"):  # these draw nothing
        assert not torch.equal(first, other)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_greater_strength_is_farther_from_the_image(images, name):
    rows = [
        PixelDistance()(FAMILIES[name](images, torch.full((3,), value), torch.Generator().manual_seed(0)), images)
        for value in (0.0, 0.25, 0.5, 1.0)
    ]
    assert rows[0].max() < (1e-3 if name == "jpeg" else 1e-9)
    assert (torch.stack(rows).diff(dim=0) > 0).all()


@pytest.mark.parametrize("name", ["fields", "weave", "tower"])
def test_made_detail_agrees_with_the_image_at_low_resolution(images, name):
    images = 0.4 + 0.2 * images  # far from the ends of the range, where clipping would break the agreement
    made = FAMILIES[name](images, torch.full((3,), 0.3), torch.Generator().manual_seed(0))
    assert (made - images).abs().max() > 0.01
    torch.testing.assert_close(bicubic_downsample(made, 8), bicubic_downsample(images, 8), atol=0.5 / 255, rtol=0)


def test_versions_are_ordered_by_strength_and_depend_on_their_key_alone(images):
    versions, strengths = draw_versions(images, 0, 5)
    again, _ = draw_versions(images, 0, 5)
    other, _ = draw_versions(images, 0, 6)
    assert (strengths[:, 0] <= strengths[:, 1]).all() and torch.equal(versions[0], images)
    assert all(torch.equal(a, b) for a, b in zip(versions, again, strict=True))
    assert not torch.equal(versions[1], other[1])


def test_each_image_is_distorted_by_its_own_family(images):
    family, strength = torch.tensor([1, 0, 1]), torch.tensor([0.5, 0.5, 0.0])
    found = distort(images, family, strength, 0)
    assert torch.equal(found[2], images[2]) and not torch.equal(found[0], images[0])
    blurred = list(FAMILIES.values())[0](images[1:2], strength[1:2], torch.Generator())
    torch.testing.assert_close(found[1:2], blurred)


def test_descent_comes_nearer(images):
    distance = PixelDistance()
    start = descend(images, lambda made: 0 * distance(made, images), 0)  # a gradient of 0 leaves it where it begins
    found = descend(images, lambda made: distance(made, images), 0)
    assert distance(found, images).sum() < 0.5 * distance(start, images).sum()
