"""What users would pick instead: its rows, and what stands in place of one whose program is not installed."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest
import torch

from speed import distance_speed, others, settings, sizes
from tim_plugin.losses.distance import PixelDistance


@pytest.fixture
def tiny_search(monkeypatch, tiny_network):
    network = {key: value for key, value in tiny_network.items() if key != "type"}
    tiny = replace(settings.SETTINGS["demo"], network=network, lq_px=2, examples=1, candidates=2, at_once=1)
    monkeypatch.setitem(settings.SETTINGS, "demo", tiny)


def test_without_spandrel_its_row_is_left_out_and_said_so(tiny_search, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "spandrel", None)  # as where it is not installed
    (search,) = others.benchmark_others(1)
    assert search.ratio > 0 and search.checks["nearest candidates of level 1 that projections find"] in (0, 1)
    assert "spandrel is not installed, so its row is left out" in capsys.readouterr().out


def test_beside_spandrel(monkeypatch):
    pytest.importorskip("spandrel")
    monkeypatch.setattr(others, "SIDE", 32)
    monkeypatch.setattr(others, "installed", lambda: [])
    (row,) = others._beside_spandrel(1)
    theirs, ours = row.counts["multiplications, thousand millions, theirs and ours"]
    assert row.ratio > 0 and 0.5 < theirs / ours < 2


def test_projections_estimate_the_distance():
    a, b = torch.rand(2, 4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    projected, exact = others.Projected(PixelDistance()), PixelDistance()
    found = projected.distance(projected.features(a), projected.features(b))
    assert torch.allclose(found, 3 * exact(a, b), rtol=0.3)  # they sum over channels
    assert projected.features(a).shape == (4, others.PROJECTED)


def test_multiplications_are_counted():
    layer, image = torch.nn.Conv2d(4, 8, 3, padding=1), torch.rand(1, 4, 10, 10)
    assert others.multiplications(layer, lambda: layer(image)) == 4 * 8 * 9 * 100


def test_sizes_are_compared_by_the_megapixel(monkeypatch):
    monkeypatch.setattr(sizes, "SIDES", (16,))
    monkeypatch.setattr(sizes, "SMALLEST", 4)
    (row,) = sizes.benchmark_sizes(1)
    assert row.setting.endswith("16x16 to 64, 1 sample, against 4x4") and row.ratio > 0


def test_a_distance_in_bf16_is_timed_beside_one_in_single_precision(monkeypatch):
    monkeypatch.setattr(distance_speed, "SIDE", 32)
    monkeypatch.setattr(distance_speed, "AT_ONCE", 1)
    rows = distance_speed.benchmark_distance(1)
    assert [row.setting.split(",")[0] for row in rows] == list(distance_speed.BACKBONES)
    assert all(row.checks["same distance"] and row.ratio > 0 for row in rows)
    assert (rows[0].plain.name, rows[0].ours.name) == ("fp32", "bf16")
