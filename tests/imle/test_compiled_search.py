"""A search whose levels are compiled: once each, with the same picks."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from tim_plugin.imle import tower_runner
from tim_plugin.imle.latents import LevelShape
from tim_plugin.imle.search import hierarchical
from tim_plugin.imle.search_runner import SearchPlan, SearchRunner
from tim_plugin.imle.types import Condition
from tim_plugin.losses.distance import PixelDistance
from tim_plugin.utils.errors import TimError


def same_codes(a, b):
    return all(torch.equal(x, y) for p, q in zip(a.latents, b.latents, strict=True) for x, y in zip(p, q, strict=True))


class TwoConvolutions(nn.Module):
    """Two levels of one weight-normalised convolution each: little to compile."""

    def __init__(self) -> None:
        super().__init__()
        self.levels = nn.ModuleList(weight_norm(nn.Conv2d(4, 3, 3, 1, 1)) for _ in range(2))

    def latent_shapes(self, height, width):
        return [LevelShape((1, height, width), (2,))] * 2

    def forward_level(self, level, condition, latent, state=None):
        below = condition.image if state is None else state
        image = self.levels[level](torch.cat([below, latent.noise + latent.style[:, :1, None, None]], dim=1)).sigmoid()
        return image, image


def test_each_level_is_compiled_once_picks_the_same_and_follows_the_weights(monkeypatch):
    """Chunks of 6, 6, 6 and 3, in three searches; the backend counts and runs what it is given as it is."""
    torch.manual_seed(0)
    tower, compiled = TwoConvolutions(), []
    images = torch.rand(3, 3, 4, 4)

    def backend(module, inputs):
        compiled.append(module)
        return module.forward

    def found(runner=None):
        source = torch.Generator().manual_seed(7)
        return hierarchical(
            tower, PixelDistance(), [Condition(images)] * 2, [images] * 2, [7] * 2, source, 7, runner=runner
        )

    monkeypatch.setattr(tower_runner, "BACKEND", backend)
    runner = SearchRunner(tower, SearchPlan(compiled=True))
    plain, first, second = found(), found(runner), found(runner)
    assert len(compiled) == 2
    assert same_codes(plain, first) and torch.allclose(plain.distances, first.distances, rtol=1e-4)
    assert torch.equal(first.distances, second.distances)
    with torch.no_grad():  # training goes on between searches
        for parameter in tower.parameters():
            parameter.mul_(-1.3)
    moved, again = found(), found(runner)
    assert not torch.allclose(moved.distances, plain.distances, rtol=0.01)
    assert torch.allclose(moved.distances, again.distances, rtol=1e-4)
    assert len(compiled) == 2


def test_a_machine_that_cannot_compile_is_one_clear_error(monkeypatch):
    def backend(module, inputs):
        raise RuntimeError("no compiler")

    monkeypatch.setattr(tower_runner, "BACKEND", backend)
    image = torch.rand(1, 3, 4, 4)
    with pytest.raises(TimError, match="imle: search_compile: level 1 .*no compiler.* gcc"):
        hierarchical(
            TwoConvolutions(),
            PixelDistance(),
            [Condition(image)] * 2,
            [image] * 2,
            [2] * 2,
            torch.Generator().manual_seed(7),
            runner=SearchRunner(TwoConvolutions(), SearchPlan(compiled=True)),
        )


# memory ---------------------------------------------------------------------------------------------------------------
