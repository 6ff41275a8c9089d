"""What each level's style and noise give of the variance, against a tower that adds its latents up."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from paper import latent_shares
from tim_plugin.degradations.base import Observed
from tim_plugin.imle.latents import LevelShape
from tim_plugin.inference.towers import load


class Sum(nn.Module):
    """Adds 3 times the first level's style to the second's noise; all else does nothing."""

    def __init__(self) -> None:
        super().__init__()
        real = load("sr4x-small").network
        self.spec, self.degradation = real.spec, real.degradation

    def latent_shapes(self, height, width):
        return [LevelShape((1, height, width), (1,))] * 2

    def forward_level(self, level, condition, latents, state):
        if level == 0:
            return None, 3 * latents.style[:, 0]
        return state[:, None, None, None] + latents.noise[:, :1], None


def test_variances_are_those_of_a_sum(monkeypatch):
    monkeypatch.setattr(latent_shares, "DRAWS", 400)
    found = latent_shares.variances(Sum(), Observed(torch.rand(1, 3, 8, 8)), 0)
    assert found["1 style"] == pytest.approx(9, rel=0.25) and found["2 noise"] == pytest.approx(1, rel=0.1)
    assert found["1 noise"] == found["2 style"] == 0
    assert found["all"] == pytest.approx(10, rel=0.25)


def test_the_page_keeps_the_other_towers(bench, monkeypatch):
    monkeypatch.setattr(latent_shares, "INPUTS", 2)
    monkeypatch.setattr(latent_shares, "DRAWS", 3)
    first = latent_shares.reproduce_latents(bench, ["sr16x"])
    both = latent_shares.reproduce_latents(bench, ["sr4x"])
    assert both["tasks"]["sr16x"] == first["tasks"]["sr16x"]
    shares = both["tasks"]["sr4x"]["shares"]
    assert list(shares) == ["1 style", "1 noise", "2 style", "2 noise"] and all(share >= 0 for share in shares.values())
    folder = bench.root / "docs" / "results" / "small"
    page = (folder / "latents.md").read_text()
    assert f"| 2 | noise | {shares['2 noise']:.1%} |" in page and page.count("`sr16x-small`") == 8
    assert json.loads((folder / "latents.json").read_text()) == both
