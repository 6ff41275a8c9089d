"""Targets whose pixels count differently, grey images, and batches as trees."""

from __future__ import annotations

import pytest
import torch

from tim_plugin.archs.tower_arch import TowerGenerator
from tim_plugin.degradations.base import Observed
from tim_plugin.imle.pyramid import condition_pyramid, target_pyramid
from tim_plugin.imle.search import hierarchical
from tim_plugin.imle.types import Condition, Weighted
from tim_plugin.losses.distance import PerceptualDistance, PixelDistance
from tim_plugin.utils.trees import choose, join, map_tensors, move, split, take, tile


def images(seed, *size):
    return torch.rand(*size, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def distances():
    return PixelDistance(), PerceptualDistance(backbone="squeezenet1_1", weights="random", calibration="none")


def test_equal_weights_change_nothing_and_weightless_pixels_do_not_count(distances):
    a, b = images(0, 2, 3, 64, 48), images(1, 2, 3, 64, 48)
    for distance in distances:
        weighted = distance.features(Weighted(b, torch.ones(2, 1, 64, 48)))
        plain = distance.distance(distance.features(a), distance.features(b))
        assert torch.allclose(distance.distance(distance.features(a), weighted), plain, rtol=1e-5)
        nothing = distance.features(Weighted(b, torch.zeros(2, 1, 64, 48)))
        assert (distance.distance(distance.features(a), nothing) == 0).all()
    weight = images(2, 2, 1, 64, 48)
    found = distances[0].distance([a], distances[0].features(Weighted(b, weight)))
    assert torch.allclose(found, ((a - b).square() * weight).mean(dim=(1, 2, 3)), rtol=1e-5)
    other = a.clone()
    other[..., :10, :] = 0.5
    weight[..., :10, :] = 0
    target = distances[0].features(Weighted(b, weight))
    assert torch.equal(distances[0].distance([a], target), distances[0].distance([other], target))


def test_a_grey_image_counts_as_its_three_equal_channels(distances):
    grey, other = images(0, 2, 1, 40, 40), images(1, 2, 1, 40, 40)
    assert torch.equal(distances[1](grey, other), distances[1](grey.expand(-1, 3, -1, -1), other.expand(-1, 3, -1, -1)))


def test_weights_are_averaged_to_each_level():
    gt, weight = images(0, 1, 3, 16, 24), images(1, 1, 1, 16, 24)
    targets = target_pyramid(gt, 3, weight)
    for target, step in zip(targets, (4, 2, 1), strict=True):
        expected = weight.unfold(2, step, step).unfold(3, step, step).mean(dim=(4, 5))
        assert torch.allclose(target.weight, expected)
        assert target.image.shape[-2:] == target.weight.shape[-2:]


def test_the_search_takes_weighted_targets():
    torch.manual_seed(0)
    tower = TowerGenerator(
        placement="same", num_levels=2, trunk_channels=4, growth_channels=4, num_blocks=1, mapping_width=8
    )
    lq, gt = images(0, 2, 3, 8, 8), images(1, 2, 3, 8, 8)
    conditions = condition_pyramid(Observed(lq), tower.spec, tower.degradation)
    distance, weight = PixelDistance(), torch.zeros(2, 1, 8, 8)
    weight[..., :4] = 2
    found = hierarchical(
        tower, distance, conditions, target_pyramid(gt, 2, weight), [4, 4], torch.Generator().manual_seed(0), 4
    )
    best = tower(conditions, found.latents)[-1]
    expected = ((best - gt).square() * weight).mean(dim=(1, 2, 3))
    assert torch.allclose(found.distances[:, 1], expected, rtol=1e-4)


def test_batches_of_dicts_and_tuples_are_split_and_joined():
    batch = {"lq": torch.arange(7.0).view(7, 1), "given": {"y": torch.arange(14).view(7, 2)}, "condition": None}
    parts = split(batch, 3, 7)
    assert [len(part["lq"]) for part in parts] == [3, 3, 1]
    again = join(parts)
    assert torch.equal(again["lq"], batch["lq"]) and torch.equal(again["given"]["y"], batch["given"]["y"])
    assert again["condition"] is None and list(again) == list(batch)
    condition = Condition(batch["lq"], {"y": batch["given"]["y"]})
    tiled = tile(condition, 2)
    assert isinstance(tiled, Condition) and torch.equal(tiled.given["y"][7:], condition.given["y"])
    items = torch.tensor([4, 0])
    assert take(condition, items).image.flatten().tolist() == [4, 0]
    mask = torch.tensor([True] * 3 + [False] * 4)
    chosen = choose(mask, condition, map_tensors(torch.zeros_like, condition))
    assert chosen.image.flatten().tolist() == [0, 1, 2, 0, 0, 0, 0]
    assert move(condition, "cpu").given["y"].device.type == "cpu"


@pytest.mark.parametrize("items", [1, 3])
def test_items_are_repeated_one_batch_after_the_other(items):
    tree = {"a": torch.rand(items, 2, 3), "b": [torch.rand(items), None]}
    found = tile(tree, 4)
    assert torch.equal(found["a"], torch.cat([tree["a"]] * 4)) and torch.equal(found["b"][0], tree["b"][0].repeat(4))
    assert (found["a"].data_ptr() == tree["a"].data_ptr()) == (items == 1)  # one item is not copied
