"""The demo's road with a tiny network, and the benchmark's naive search."""

from __future__ import annotations

import json
import runpy
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import pytest
import torch
import yaml

from tim_plugin import benchmark, demo
from tim_plugin.errors import TimError
from tim_plugin.imle.distance import PixelDistance
from tim_plugin.imle.selection import hierarchical
from tim_plugin.option_file import read_option_file

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def tiny_demo(project_copy, tiny_network):
    """The demo's option file with a tiny network and three iterations, below a root of its own."""
    pytest.importorskip("sklearn")
    path = project_copy / "options" / "demo" / "demo_sr16x.yml"
    opt = json.loads(json.dumps(read_option_file(path)))
    opt["network_g"] = {**tiny_network, "consistency": "project"}
    opt["imle"].update(samples_per_level=2, pool_size=8, reuse=2)
    opt["train"]["total_iter"] = 3
    opt["datasets"]["train"]["gt_size"] = 32
    opt["logger"].update(save_checkpoint_freq=3)
    path.write_text(yaml.safe_dump(opt, sort_keys=False))
    return project_copy


def test_demo_trains_samples_measures_and_says_where_to_look(tiny_demo, capfd):
    measures = demo.run_demo("sr16x", tiny_demo)
    result = tiny_demo / "results" / "demo_sr16x"
    assert json.loads((result / "metrics.json").read_text()) == measures
    assert measures["iterations"] == 3 and measures["parameters"] > 0 and measures["seconds"] > 0
    for key in ("loss", "selected_distance"):
        assert set(measures[key]) == {"start", "end"} and measures[key]["start"] > 0
    assert 0 < measures["best_of_8_distance"] <= measures["mean_distance"]
    assert measures["diversity"] > 0 and measures["lr_psnr_db"]["worst"] >= 45
    assert measures["distance"] == "squeezenet1_1 feature distance (random weights, seed 0)"
    assert (measures["training_seed"], measures["sampling_seed"]) == (0, 0)
    sheet = cv2.imread(str(result / "contact_sheet.png"))
    assert sheet.shape[1] > 9 * 128 and sheet.shape[0] > len(demo.HELD_OUT) * 128
    printed, bar = capfd.readouterr()
    assert "Look at" in printed and "tools/sample.py" in printed
    assert "demo_sr16x: 3/3" in bar and "selected distance" in bar and "left" in bar
    photos = tiny_demo / "datasets" / "demo_photos"
    train, held_out = (
        {file.name.rsplit("_", 1)[0] for file in (photos / phase).iterdir()} for phase in ("train", "val")
    )
    assert held_out == set(demo.HELD_OUT) and not train & held_out and len(train) >= 4


def test_a_missing_photograph_names_its_package(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(TimError, match="package 'skimage' is not installed"):
        demo.write_photos(tmp_path)


@pytest.fixture
def problem(tiny_tower):
    tower = tiny_tower()
    setting = benchmark.Setting({}, lq_px=2, examples=3, candidates=5, at_once=6)
    return tower, *benchmark._problem(tower, setting, "cpu")


def test_the_naive_search_picks_the_same_with_more_evaluations(problem):
    tower, conditions, targets = problem
    arguments = (tower, PixelDistance(), conditions, targets, [5, 3, 4, 2])
    naive, ours = (
        search(*arguments, torch.Generator().manual_seed(0), 6)
        for search in (benchmark.naive_hierarchical, hierarchical)
    )
    for a, b in zip(naive.latents, ours.latents, strict=True):
        assert torch.equal(a.noise, b.noise) and torch.equal(a.style, b.style)
    assert torch.allclose(naive.distances, ours.distances, rtol=1e-4)
    assert naive.evaluations == (3 * 14, 3 * 9, 3 * 6, 3 * 2)
    assert ours.evaluations == (3 * 5, 3 * 3, 3 * 4, 3 * 2)


def test_the_demos_benchmark_measures_the_demos_network():
    network = read_option_file(ROOT / "options" / "demo" / "demo_sr16x.yml")["network_g"]
    for key, value in benchmark.SETTINGS["demo"].network.items():
        assert network[key] == value


def test_benchmark_tool_prints_ratio_and_counts(monkeypatch, tmp_path, capsys, tiny_network):
    network = {key: value for key, value in tiny_network.items() if key != "type"}
    tiny = replace(benchmark.SETTINGS["demo"], network=network, lq_px=2, examples=1, candidates=2, at_once=2)
    monkeypatch.setattr(benchmark, "SETTINGS", {"demo": tiny})
    monkeypatch.setattr(
        sys, "argv", ["benchmark.py", "selection", "--repeats", "1", "--json", str(tmp_path / "b.json")]
    )
    runpy.run_path(str(ROOT / "tools" / "benchmark.py"), run_name="__main__")
    printed = capsys.readouterr().out
    result = json.loads((tmp_path / "b.json").read_text())["results"][0]
    assert result["naive_evaluations"] == [8, 6, 4, 2] and result["ours_evaluations"] == [2, 2, 2, 2]
    assert result["ratio"] == pytest.approx(result["naive_seconds"] / result["ours_seconds"])
    assert f"{result['ratio']:.2f}" in printed and "(8, 6, 4, 2)" in printed and "same picks" in printed
