"""The network that samples: faster, the same images, and the given network as it was."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from tim_plugin.archs import folded as module
from tim_plugin.archs.folded import folded
from tim_plugin.archs.wrapped_tower import HalfPrecision
from tim_plugin.degradations.base import Observed
from tim_plugin.imle.latents import LevelLatent
from tim_plugin.imle.pyramid import condition_pyramid


def images_of(tower):
    generator = torch.Generator().manual_seed(0)
    lq = torch.rand(2, 3, 6, 5, generator=generator)
    conditions = condition_pyramid(Observed(lq), tower.spec, tower.degradation)
    latents = [
        LevelLatent(*(torch.randn(2, *one, generator=generator) for one in shape))
        for shape in tower.latent_shapes(6, 5)
    ]
    with torch.no_grad():
        return tower(conditions, latents)


@pytest.mark.parametrize("weight_norm", [True, False])
def test_images_are_the_same_and_the_network_is_as_it_was(tiny_tower, weight_norm):
    tower = tiny_tower(weight_norm=weight_norm)
    before = {key: value.clone() for key, value in tower.state_dict().items()}
    fast = folded(tower)
    for found, expected in zip(images_of(fast), images_of(tower), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    convolutions = [one for one in fast.modules() if isinstance(one, nn.Conv2d)]
    assert convolutions and not any(parametrize.is_parametrized(one) for one in convolutions)
    assert all(one.weight.is_contiguous(memory_format=torch.channels_last) for one in convolutions)
    assert tower.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[key]) for key, value in tower.state_dict().items())
    assert any(map(parametrize.is_parametrized, tower.modules())) == weight_norm


def test_a_copy_of_the_network_still_trains(tiny_tower):
    """Copies of a parametrised network share a class, which folding must not change."""
    tower = tiny_tower()
    other = copy.deepcopy(tower)
    folded(tower)
    images_of(folded(other))
    loss = sum(one.conv_first.weight.sum() for one in other.levels)
    loss.backward()
    assert other.levels[0].conv_first.parametrizations.weight.original0.grad is not None


def test_weights_are_read_when_it_is_called(tiny_tower):
    tower = tiny_tower()
    first = images_of(folded(tower))
    with torch.no_grad():
        for weight in tower.parameters():
            weight.data.mul_(1.1)  # as an exponential moving average does
    assert not torch.equal(images_of(folded(tower))[-1], first[-1])


def test_a_wrapper_keeps_what_it_does_and_its_own_network(tiny_tower):
    tower = tiny_tower()
    wrapped = HalfPrecision(tower, "cpu")
    fast = folded(wrapped)
    assert type(fast) is HalfPrecision and fast.device_type == "cpu"
    assert wrapped.tower is tower and fast.tower is not tower


def test_of_a_large_network_no_second_copy_is_made(tiny_tower, monkeypatch):
    monkeypatch.setattr(module, "LARGE_BYTES", 1)
    tower = tiny_tower()
    assert folded(tower) is tower
    assert folded(images_of) is images_of  # any callable tower
