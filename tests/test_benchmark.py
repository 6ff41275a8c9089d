"""The benchmark: its naive search picks the same, and what the tool prints."""

from __future__ import annotations

import json
import runpy
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tim_plugin.benchmarks import inference, selection, settings
from tim_plugin.imle.distance import PixelDistance
from tim_plugin.imle.selection import hierarchical
from tim_plugin.option_file import read_option_file

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def problem(tiny_tower):
    tower = tiny_tower()
    setting = settings.Setting({}, lq_px=2, examples=3, candidates=5, at_once=6)
    return tower, *selection._problem(tower, setting, "cpu")


def test_the_naive_search_picks_the_same_with_more_evaluations(problem):
    tower, conditions, targets = problem
    arguments = (tower, PixelDistance(), conditions, targets, [5, 3, 4, 2])
    naive, ours = (
        search(*arguments, torch.Generator().manual_seed(0), 6)
        for search in (selection.naive_hierarchical, hierarchical)
    )
    for a, b in zip(naive.latents, ours.latents, strict=True):
        assert torch.equal(a.noise, b.noise) and torch.equal(a.style, b.style)
    assert torch.allclose(naive.distances, ours.distances, rtol=1e-4)
    assert naive.evaluations == (3 * 14, 3 * 9, 3 * 6, 3 * 2)
    assert ours.evaluations == (3 * 5, 3 * 3, 3 * 4, 3 * 2)


def test_the_demos_benchmark_measures_the_demos_network():
    network = read_option_file(ROOT / "options" / "demo" / "demo_sr16x.yml")["network_g"]
    for key, value in settings.SETTINGS["demo"].network.items():
        assert network[key] == value


def test_benchmark_tool_prints_ratio_and_counts(monkeypatch, tmp_path, capsys, tiny_network):
    network = {key: value for key, value in tiny_network.items() if key != "type"}
    tiny = replace(settings.SETTINGS["demo"], network=network, lq_px=2, examples=1, candidates=2, at_once=2)
    monkeypatch.setitem(settings.SETTINGS, "demo", tiny)
    arguments = ["selection", "--network", "demo", "--repeats", "1", "--json", str(tmp_path / "b.json")]
    monkeypatch.setattr(sys, "argv", ["benchmark.py", *arguments])
    runpy.run_path(str(ROOT / "tools" / "benchmark.py"), run_name="__main__")
    printed = capsys.readouterr().out
    result = json.loads((tmp_path / "b.json").read_text())["results"][0]
    assert result["counts"]["naive, level evaluations"] == [8, 6, 4, 2]
    assert result["counts"]["ours, level evaluations"] == [2, 2, 2, 2]
    assert result["ratio"] == pytest.approx(result["plain"]["seconds"] / result["ours"]["seconds"])
    assert f"{result['ratio']:.2f}" in printed and "[8, 6, 4, 2]" in printed and "same picks: True" in printed


def test_the_benchmark_of_inference_compares_equal_samples(monkeypatch, tiny_network):
    network = {key: value for key, value in tiny_network.items() if key != "type"}
    monkeypatch.setitem(settings.SETTINGS, "demo", replace(settings.SETTINGS["demo"], network=network, lq_px=2))
    monkeypatch.setattr(inference, "SAMPLES", (1, 20))
    monkeypatch.setattr(inference, "TILED_LQ_PX", 5)
    monkeypatch.setattr(inference, "TILE_PX", 16)
    one, many, kept, tiles = inference.benchmark_inference("demo", repeats=1)
    assert one.counts == {"level calls": [4, 4]} and many.counts == {"level calls": [80, 8]}
    assert kept.counts == {"level evaluations": [[16] * 4, [1, 1, 16, 16]]}
    assert one.checks == many.checks == {"same samples": True} and tiles.checks == {"same sample": True}
    assert tiles.counts["pixels that RRDBs read, over the map's"] == [1.0, 1.0, 3.8, 5.41]  # (39 / 20)^2, (93 / 40)^2
