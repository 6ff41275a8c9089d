"""The rivals' page, from photographs to the page, with tiny networks: equal time, costs, and nothing made twice."""

from __future__ import annotations

import json

import pytest
import torch

from paper import equal_time, rivals, sample_cost, step_time
from paper import parallel_runs as training
from paper.presets import PRESETS
from paper.sample_cost import parameters_of
from paper.systems import TEXT
from paper.workbench import Workbench
from tim_plugin.options.checks import check_options
from tim_plugin.options.option_file import read_with_overrides
from tim_plugin.utils.images import write_png
from tim_plugin.utils.networks import network_of

SECONDS = {"TIM": 2.0, "flow from the mean": 1.0, "rcGAN": 4.0}


WAYS = ("", ", 1 steps", ", 5 steps, projected")  # that are measured, which takes longest
NOT_MADE = ("diffusion (EDM)", TEXT, f"{TEXT} + consistency")


def no_training(*arguments):
    raise AssertionError("made again")


def tiny(rival):
    ways = {name: way for name, way in rival.ways.items() if name in WAYS}
    changes = {"network_g:widths": [4, 8], "datasets:train:batch_size_per_gpu": 2, "logger:save_checkpoint_freq": 1}
    return rival._replace(overrides={**rival.overrides, **(changes if rival.option_file else {})}, ways=ways)


@pytest.fixture
def small_bench(bench, monkeypatch):
    """The rivals tiny, and seconds an iteration that were not measured."""
    made = [one for one in rivals.RIVALS["small"] if one.name not in NOT_MADE]
    monkeypatch.setattr(rivals, "RIVALS", {"small": tuple(map(tiny, made))})
    monkeypatch.setattr(sample_cost, "REPEATS", 1)
    monkeypatch.setattr(equal_time, "step_seconds", lambda runs: {name: SECONDS.get(name, 2.0) for name in runs})
    return bench


def test_the_rivals_are_trained_for_equal_time_and_measured_once(small_bench, monkeypatch):
    content = rivals.reproduce_rivals(small_bench, ["sr16x"])
    folder = small_bench.root / "docs" / "results" / "small"
    assert json.loads((folder / "rivals.json").read_text()) == content
    rows = content["tasks"]["sr16x"]
    first, last = "flow from the mean, 1 steps", "flow from the mean, 5 steps, projected"
    assert list(rows)[3:5] == [first, last] and len(rows) == 7
    assert all(row["frechet_squeezenet"] > 0 for row in rows.values())
    taken = {name: row["training"]["iterations"] for name, row in rows.items()}
    assert (taken["TIM"], taken[first], taken["rcGAN"]) == (2, 4, 1)
    assert {row["training"]["minutes"] for row in rows.values()} == {2 * 2.0 / 60}
    assert rows[first]["run"] == rows[last]["run"]  # trained once
    assert [rows[name]["cost"]["evaluations"] for name in (first, last, "TIM", "rcGAN")] == [2, 6, 1, 1]
    assert rows[last]["cost"]["multiplications"] > 2 * rows[first]["cost"]["multiplications"]
    assert rows[first]["lr_psnr"]["worst"] < 45 <= rows[last]["lr_psnr"]["worst"]
    assert rows["TIM"]["lr_psnr"]["worst"] < 45 <= rows["TIM + consistency"]["lr_psnr"]["worst"]
    single = rows["regression (the mean)"]
    assert "lpips_diversity" not in single and "posterior" not in single
    assert all(row["posterior"]["energy_score"]["pixels"] > 0 for row in rows.values() if row is not single)
    page = (folder / "rivals.md").read_text()
    assert "| rcGAN | " in page and "processor time of one thread" in page and "](rivals.png)" in page
    assert (folder / "rivals.png").stat().st_size > 5000
    monkeypatch.setattr(training, "_trained", no_training)
    monkeypatch.setattr("paper.workbench.score", no_training)
    monkeypatch.setattr("paper.row_figures.sample_cost", no_training)
    monkeypatch.setattr(equal_time, "step_seconds", no_training)
    assert rivals.reproduce_rivals(small_bench, ["sr16x"]) == content
    assert not rivals._is_stale(small_bench, "sr16x", rows)
    other = {**rows, "rcGAN": {**rows["rcGAN"], "run": "another"}}
    assert rivals._is_stale(small_bench, "sr16x", other) and rivals._is_stale(small_bench, "sr16x", {})


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("task", rivals.TASKS)
def test_the_rivals_of_a_preset_are_of_tims_size(project_copy, photos, preset, task):
    for phase in ("train", "val"):
        write_png(project_copy / "data" / phase / "a.png", torch.rand(3, 130, 130))
    bench, sizes = Workbench(project_copy, PRESETS[preset], project_copy / "data", "random"), {}
    for name, system in rivals.systems(bench, task).items():
        data = {f"datasets:{phase}:dataroot_gt": str(photos) for phase in ("train", "val")}
        opt, _ = read_with_overrides(project_copy / system.option_file, {**system.overrides, **data})
        check_options(opt)
        assert opt["train"]["total_iter"] == bench.run(bench.preset.tim(task), 0).iterations()
        searches = name.startswith(rivals.TIM)
        assert (step_time._steps(opt) == (step_time.SKIPPED_STEPS, step_time.TIMED_STEPS)) != searches
        if preset != "paper":  # whose networks have their own sizes
            with torch.device("meta"):
                sizes[name] = parameters_of(network_of(opt["network_g"]))
    assert all(0.7 < size / sizes["TIM"] < 1.45 for size in sizes.values()), sizes


def test_a_samples_parameters_are_without_the_critics():
    network = torch.nn.ModuleDict({"generator": torch.nn.Linear(2, 3), "critic": torch.nn.Linear(5, 7)})
    assert parameters_of(network) == 2 * 3 + 3
