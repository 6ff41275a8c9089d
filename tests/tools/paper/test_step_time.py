"""Seconds an iteration: of runs with and without a search, whatever else the machine does, and measured once."""

from __future__ import annotations

import itertools
import json
import time

import pytest
import torch
import yaml

from paper import step_time
from paper import system_tables as comparison
from paper.parallel_runs import Run
from paper.step_time import kept_step_seconds, step_seconds

DNCNN = {"network_g:num_feat": 4, "network_g:num_layers": 3, "datasets:train:gt_size": 32}


@pytest.fixture
def runs(project_copy, photos, tiny_network):
    """TIM with a pool of two batches, used twice, and DnCNN."""
    options = project_copy / "options"
    path = project_copy / "tools" / "paper" / "options" / "train_small_decompression.yml"
    opt = yaml.safe_load(path.read_text())
    opt["network_g"].update({key: value for key, value in tiny_network.items() if key not in ("type", "num_levels")})
    opt["imle"].update(samples_per_level=2, pool_size=4, reuse=2, search_batch=2)
    path.write_text(yaml.safe_dump(opt, sort_keys=False))
    overrides = {f"datasets:{phase}:dataroot_gt": str(photos) for phase in ("train", "val")}
    overrides |= {"datasets:train:batch_size_per_gpu": 2, "datasets:train:num_worker_per_gpu": 0, "num_gpu": 0}
    return {
        "TIM": Run(path, {**overrides, "train:perceptual_opt:weights": "random"}, "tim"),
        "DnCNN": Run(options / "baselines" / "train_dncnn_decompression.yml", {**overrides, **DNCNN}, "dncnn"),
    }


@pytest.fixture
def steps(monkeypatch):
    """What each timing trained: the options of its run."""
    found, train = [], step_time.train_pipeline

    def noting(root, argv, on_step):
        reached = []
        train(root, argv, lambda current_iter, log: (reached.append(current_iter), on_step(current_iter, log)))
        found.append(reached[-1])

    monkeypatch.setattr(step_time, "train_pipeline", noting)
    return found


def test_runs_with_and_without_a_search_are_timed(runs, steps):
    threads = torch.get_num_threads()
    assert all(one > 0 for one in step_seconds(runs).values())
    assert steps == [7 + 5 * 4, 5 + 20]  # each once: pools of two batches used twice, and the first few not timed
    assert torch.get_num_threads() == threads


def test_waiting_counts_for_nothing_on_the_cpu(runs, monkeypatch):
    """Each step takes 2 seconds of the processor, whatever the clock on the wall says."""
    monkeypatch.setattr(time, "process_time", itertools.count(0.0, 2.0).__next__)
    assert step_seconds({"DnCNN": runs["DnCNN"]}) == {"DnCNN": 2.0}


def test_seconds_are_kept_for_the_runs_that_they_were_measured_beside(runs, project_copy, steps, monkeypatch):
    monkeypatch.setattr(step_time, "TIMED_STEPS", 2)
    wider = runs["DnCNN"]._replace(overrides={**runs["DnCNN"].overrides, "network_g:num_feat": 8})
    both = {"narrow": runs["DnCNN"], "wide": wider}
    first = kept_step_seconds(both, project_copy)
    assert len(steps) == 2 and list(first) == ["narrow", "wide"]
    assert kept_step_seconds(both, project_copy) == first and len(steps) == 2
    (file,) = (project_copy / "experiments" / runs["DnCNN"].name()).iterdir()
    assert json.loads(file.read_text())["clock"] == step_time.PROCESSOR
    kept_step_seconds({"narrow": runs["DnCNN"]}, project_copy)
    assert len(steps) == 3  # what was measured beside other runs, at another time, does not compare
    monkeypatch.setattr(step_time, "machine", lambda root, device: {"hardware": "another", "versions": "same"})
    kept_step_seconds({"narrow": runs["DnCNN"]}, project_copy)
    assert len(steps) == 4


def test_times_that_differ_from_tims_stand_out():
    def row(minutes):
        training = {"iterations": 10, "seconds_an_iteration": minutes * 6, "minutes": minutes}
        return {"training": training, "seeds": [{}, {}]}

    tim = row(2.0)
    assert comparison._training_cells(tim, tim) == ["2", "10", "12.000", "2.0", "1.00"]
    assert comparison._training_cells(row(2.18), tim)[-1] == "1.09"
    assert comparison._training_cells(row(2.4), tim)[-1] == "**1.20**"
    assert comparison._training_cells(row(1.6), tim)[-1] == "**0.80**"
    assert comparison._training_cells({"training": None, "seeds": [{}]}, tim) == ["-", "0", "-", "-", "-"]
