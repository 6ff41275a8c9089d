"""Pages: what stays of an earlier one, and when it is left out; tables of text."""

from __future__ import annotations

import dataclasses
import json
import shutil

import pytest
import torch
import yaml

from paper import ablation, equal_time
from paper import system_tables as comparison
from paper.pages import spread, table, with_other_tasks, write_target
from paper.presets import SMALL
from paper.workbench import Workbench
from tim_plugin.options.option_file import read_option_file


def test_a_task_that_is_not_asked_for_stays_on_the_page(tmp_path, capsys):
    def measured(task, features="squeezenet1_1"):
        return {"tasks": {task: 1}, "conditions": {task: {"features_of_sets": features, "seeds": [len(task)]}}}

    def kept(content, stale=False):
        return with_other_tasks(tmp_path, "table9", content, comparison.TASKS, lambda *about: stale)

    write_target(tmp_path, "table9", measured("colorization"), ["# Table 9"])
    both = kept(measured("sr16x"))
    assert list(both["tasks"]) == list(both["conditions"]) == ["sr16x", "colorization"]  # in the page's order
    write_target(tmp_path, "table9", both, ["# Table 9"])
    page = (tmp_path / "table9.md").read_text()
    assert page.index("sr16x:") < page.index("- seeds: [5]") < page.index("colorization:") < page.index("- seeds: [12]")
    assert capsys.readouterr().err == ""
    assert list(kept(measured("sr16x", "inception"))["tasks"]) == ["sr16x"]
    assert "colorization was measured with another features of sets and is left out" in capsys.readouterr().err
    assert list(kept(measured("sr16x"), stale=True)["tasks"]) == ["sr16x"]
    assert "colorization is of runs with other options or data than now and is left out" in capsys.readouterr().err


def pretended(bench, monkeypatch):
    """Nothing is trained or measured: figures are zero, runs have the names that they would have."""
    row = {"lpips": {"mean": 0.0, "best_of_2": 0.0}, "frechet_squeezenet": 0.0, "lpips_diversity": 0.0}
    row |= {"psnr": {"mean": 0.0}, "prc": {"precision": 0.0, "recall": 0.0}, "parameters": 1}
    row["fwv"] = dict.fromkeys(("0.3", "0.2", "0.15"), 0.0)
    folder = bench.root / "experiments"
    path = "models/net_g_latest.pth"
    monkeypatch.setattr(Workbench, "train", lambda self, runs: [folder / one.name() / path for one in runs])
    monkeypatch.setattr(ablation, "kept_step_seconds", lambda runs, root: dict.fromkeys(runs, 1.0))
    monkeypatch.setattr(equal_time, "step_seconds", lambda runs: dict.fromkeys(runs, 1.0))
    for module in (ablation, comparison):
        monkeypatch.setattr(module, "all_figures", lambda *about: dict(row))
    monkeypatch.setattr(comparison, "draw_systems", lambda *about: None)
    monkeypatch.setattr(ablation, "_selected", lambda *about: 0.0)
    picture = torch.zeros(3, 8, 8)
    monkeypatch.setattr(ablation, "_samples", lambda *about: [(picture, picture, picture)])
    systems = {task: SMALL.systems[task] for task in ("sr16x", "decompression")}
    return dataclasses.replace(bench, preset=dataclasses.replace(bench.preset, systems=systems))


@pytest.mark.parametrize("make", [comparison.reproduce_table2, ablation.reproduce_table5])
def test_a_kept_task_is_of_the_options_and_data_that_are_there_now(bench, monkeypatch, capsys, make):
    bench = pretended(bench, monkeypatch)
    assert list(make(bench, ["decompression"])["tasks"]) == ["decompression"]
    both = make(dataclasses.replace(bench, preset=dataclasses.replace(bench.preset, seeds=(0, 1))), ["sr16x"])
    assert list(both["tasks"]) == ["sr16x", "decompression"]  # it keeps its own seeds
    file = bench.root / "tools" / "paper" / "options" / "train_small_decompression.yml"
    published = file.read_text()
    opt = json.loads(json.dumps(read_option_file(file)))
    opt["train"]["optim_g"]["lr"] = 0.5
    file.write_text(yaml.safe_dump(opt, sort_keys=False))
    capsys.readouterr()
    assert list(make(bench, ["sr16x"])["tasks"]) == ["sr16x"]
    assert "decompression is of runs with other options or data than now" in capsys.readouterr().err
    folder = bench.root / "docs" / "results" / "small"
    assert not [one for one in folder.glob("*.md") if "decompression" in one.read_text()]
    file.write_text(published)
    make(bench, ["decompression"])
    other = bench.root / "other"
    shutil.copytree(bench.data, other / "data")
    next((other / "data" / "train").iterdir()).unlink()
    assert list(make(dataclasses.replace(bench, data=other / "data"), ["sr16x"])["tasks"]) == ["sr16x"]
    assert "decompression is of runs with other options or data than now" in capsys.readouterr().err


def test_the_scale_of_the_variance_must_agree(bench, monkeypatch, capsys):
    bench = pretended(bench, monkeypatch)
    comparison.reproduce_table3(bench, ["decompression"])
    other = dataclasses.replace(bench, preset=dataclasses.replace(bench.preset, fwv_scale=3.0))
    assert list(comparison.reproduce_table3(other, ["sr16x"])["tasks"]) == ["sr16x"]
    assert "decompression was measured with another faithfulness weighted variance" in capsys.readouterr().err


def test_pages():
    assert table(["a", "b"], [["1", "2"]]) == ["| a | b |", "| --- | --- |", "| 1 | 2 |"]
    assert spread([1.0]) == "1.000" and spread([1.0, 3.0]) == "2.000 +- 1.414" and spread([]) == "-"
