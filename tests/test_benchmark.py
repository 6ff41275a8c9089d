"""The benchmark: its naive search picks the same, and what the tool prints."""

from __future__ import annotations

import json
import runpy
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tim_plugin.benchmarks import inference, search_options, selection, settings
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


def run_tool(monkeypatch, tool, *arguments):
    monkeypatch.setattr(sys, "argv", [tool, *map(str, arguments)])
    runpy.run_path(str(ROOT / "tools" / tool), run_name="__main__")


@pytest.fixture
def tiny_setting(monkeypatch, tiny_network):
    network = {key: value for key, value in tiny_network.items() if key != "type"}
    tiny = replace(settings.SETTINGS["demo"], network=network, lq_px=2, examples=1, candidates=2, at_once=1)
    monkeypatch.setitem(settings.SETTINGS, "demo", tiny)
    monkeypatch.setattr(search_options, "QUALITY_SEEDS", range(1))


def test_benchmark_tool_prints_ratio_and_counts_and_its_report_shows_them(monkeypatch, tmp_path, capsys, tiny_setting):
    arguments = ["selection", "--network", "demo", "--repeats", "1", "--json", tmp_path / "b.json"]
    run_tool(monkeypatch, "benchmark.py", *arguments, "--options", "screen", "memory", "chimle")
    printed = capsys.readouterr().out
    naive, screen, memory, chimle = json.loads((tmp_path / "b.json").read_text())["results"]
    assert naive["counts"]["naive, level evaluations"] == [8, 6, 4, 2]
    assert naive["counts"]["ours, level evaluations"] == [2, 2, 2, 2]
    assert naive["ratio"] == pytest.approx(naive["plain"]["seconds"] / naive["ours"]["seconds"])
    assert f"{naive['ratio']:.2f}" in printed and "[8, 6, 4, 2]" in printed and "same picks: True" in printed
    trunk = "passes through the whole trunk and its first maps"
    assert screen["counts"][f"without, {trunk}"] == [4 * (1 + 2), 0]
    assert screen["counts"][f"with, {trunk}"] == [4 * (1 + 1 + 1), 4 * (1 + 2)]
    assert screen["checks"]["selected distance, relative change"] >= 0
    assert memory["counts"]["with, items at once"] == [2] * 4
    assert memory["checks"] == {
        "share of examples with the same pick, by level": [1.0] * 4,
        "selected distance, relative change": pytest.approx(0, abs=1e-4),
    }
    assert chimle["counts"]["with, level evaluations"] == [3, 3, 1, 1]
    run_tool(monkeypatch, "benchmark_report.py", tmp_path / "b.json", "-o", tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text()
    assert "## b" in page and f"{naive['ratio']:.2f} (" in page and "screen: 0.25" in page
    conditions = json.loads((tmp_path / "b.json").read_text())["conditions"]
    assert conditions["threads"] == 1 and all(f"- {key}: {value}" in page for key, value in conditions.items())


def test_the_report_names_a_file_that_is_none_of_a_benchmark(monkeypatch, tmp_path, capsys):
    (tmp_path / "other.json").write_text('{"results": [{"what": "x"}]}')
    with pytest.raises(SystemExit):
        run_tool(monkeypatch, "benchmark_report.py", tmp_path / "other.json", "-o", tmp_path / "page.md")
    assert "other.json: not a benchmark's JSON (TypeError" in capsys.readouterr().err
    assert not (tmp_path / "page.md").exists()


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
