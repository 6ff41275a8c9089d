"""Colourfulness, and how it differs between regions."""

from __future__ import annotations

import pytest
import torch

from tim_plugin.utils.color import lab_to_rgb
from towers.colours import Colours, colours_of, mean_colours


def of_ab(ab):
    """An image (1, 3, 16, 16) of L 60 and these a* and b* (2, 16, 16)."""
    return lab_to_rgb(torch.cat([torch.full((1, 1, 16, 16), 60.0), ab[None]], dim=1))


def test_one_tint_has_chroma_and_no_spread():
    found = colours_of(of_ab(torch.tensor([6.0, 8.0]).view(2, 1, 1).expand(2, 16, 16)))
    assert found.chroma == pytest.approx(10, rel=1e-3) and found.spread == pytest.approx(0, abs=1e-2)


def test_two_halves_of_opposite_tints_spread_as_far_as_their_chroma():
    ab = torch.zeros(2, 16, 16)
    ab[0, :, :8], ab[0, :, 8:] = 10, -10
    both = colours_of(torch.cat([of_ab(ab), of_ab(torch.zeros(2, 16, 16))]))
    assert both.chroma == pytest.approx(5, rel=1e-2) and both.spread == pytest.approx(5, rel=1e-2)


def test_detail_within_a_region_is_no_spread():
    ab = torch.zeros(2, 16, 16)
    ab[1, :, ::2], ab[1, :, 1::2] = 10, -10
    found = colours_of(of_ab(ab))
    assert found.chroma == pytest.approx(10, rel=1e-2) and found.spread == pytest.approx(0, abs=0.1)


def test_the_mean_of_several():
    assert mean_colours([Colours(1, 2), Colours(3, 6)]) == Colours(2, 4)
