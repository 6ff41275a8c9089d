"""Benchmarks of training: what they count is what torch holds, and that their sides do the same thing."""

from __future__ import annotations

import json
import multiprocessing
import re
import runpy
import sys
import threading
from pathlib import Path

import pytest
import torch

from speed import ahead, scaling, settings
from speed import step_memory as memory
from speed import step_speed as training
from speed.report_page import page
from speed.timing import described
from tim_plugin.losses.distance import PerceptualDistance
from tim_plugin.models.tim_model import TIMModel
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.memory import LiveBytes

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def tiny(tiny_network):
    network = {key: value for key, value in tiny_network.items() if key != "type"}
    return settings.Setting(network | {"num_levels": 2}, lq_px=4, examples=2, candidates=1, at_once=2)


@pytest.fixture(scope="module")
def distance():
    return PerceptualDistance(backbone="squeezenet1_1", weights="random", calibration="none")


def test_what_lives_after_the_forward_pass_is_what_autograd_says_it_saved(tiny, distance):
    step = memory.Step(tiny, 2, distance)
    step.forward()  # small constants are made once
    there = [*step.tower.parameters(), *distance.parameters(), *distance.buffers()]
    known, saved = {tensor.untyped_storage().data_ptr() for tensor in there}, {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with LiveBytes() as live, torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = step.forward()
    assert sum(saved.values()) > 10**5
    assert live.now - loss.untyped_storage().nbytes() == pytest.approx(sum(saved.values()), rel=1e-3)


@pytest.mark.parametrize(("amp", "checkpoints"), [("off", False), ("bf16", True)])
def test_tensors_without_contents_count_as_real_ones(tiny, distance, amp, checkpoints):
    step = memory.Step(tiny, 2, distance, amp, checkpoints)
    real = memory.peak_bytes(step.run)
    found = memory.footprint(tiny, 2, "squeezenet1_1", amp, checkpoints, at_once=3)
    assert found.step == pytest.approx(real, rel=5e-3)
    assert found.search == pytest.approx(memory.peak_bytes(lambda: step.search(3)), rel=5e-3)
    own = memory.bytes_of(step.tower.parameters())
    assert (found.moments, found.average, found.update) == (2 * own, own, 2 * own)
    assert "computed, not measured" in described(found)


def test_the_training_benchmark_compares_steps_that_do_the_same(tiny, monkeypatch, capsys):
    monkeypatch.setitem(settings.SETTINGS, "demo", tiny)
    monkeypatch.setattr(training, "EMA_REPEATS", 1)
    for way in set(training.WAYS) - {"checkpoint_levels"}:  # each builds a model
        monkeypatch.delitem(training.WAYS, way)
    monkeypatch.setitem(training.WAYS, "amp fp16", training.ON_GPUS["amp fp16"])
    monkeypatch.delitem(training.COMBINED, "amp bf16, fused Adam")
    monkeypatch.setattr(sys, "argv", ["benchmark.py", "training", "--network", "demo", "--repeats", "1"])
    runpy.run_path(str(ROOT / "tools" / "benchmark.py"), run_name="__main__")
    printed = capsys.readouterr().out
    assert printed.count("same loss: True") == 2 and "same loss: False" not in printed
    assert "plain, level runs (items): 2 (8)" in printed
    assert "checkpoint_levels, level runs (items): 4 (16)" in printed
    assert "batch 4, amp bf16, fused Adam, checkpoint_levels, against fp32 with batch 1" in printed
    assert "4 steps of 1 example" in printed and "1 step of 4" in printed
    (share,) = re.findall(r"memory an example, ours over plain: (0\.\d+)", printed)
    assert (
        float(share) < 0.75
    )  # what the distance keeps is in single precision, and is most of it in so small a network


def test_a_worker_takes_a_step_each_time_it_is_told_to_and_ends_with_the_benchmark(tiny, monkeypatch):
    taken, whole = [], TIMModel.optimize_parameters

    def counted(self, iteration):
        whole(self, iteration)
        taken.append((iteration, len(self.lq)))

    monkeypatch.setattr(TIMModel, "optimize_parameters", counted)
    end, theirs = multiprocessing.Pipe()
    worker = threading.Thread(target=scaling._work, args=(theirs, tiny, 2, 0, 1, 1, ""), daemon=True)
    worker.start()
    for _ in range(2):
        scaling._step([end])
    end.close()
    worker.join(timeout=60)
    assert taken == [(1, 2), (2, 2)] and not worker.is_alive()


def test_memory_is_computed_for_each_way_and_stands_on_the_page(tiny, monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(settings.SETTINGS, "demo", tiny)
    monkeypatch.setattr(
        sys, "argv", ["benchmark.py", "memory", "--network", "demo", "--json", str(tmp_path / "m.json")]
    )
    runpy.run_path(str(ROOT / "tools" / "benchmark.py"), run_name="__main__")
    printed = " ".join(capsys.readouterr().out.split())
    results = json.loads((tmp_path / "m.json").read_text())["results"]
    steps = {one["setting"].removeprefix("demo, vgg16, "): one["step"] for one in results}
    assert len(steps) == 8
    for batch in (1, 4):
        plain, checkpoints = (steps[f"batch {batch}, amp off, checkpoint_levels {one}"] for one in ("false", "true"))
        assert checkpoints < plain
        assert steps[f"batch {batch}, amp bf16, checkpoint_levels false"] < plain
    written = page([tmp_path / "m.json"])
    for line in re.findall(r"- (memory .computed, not measured.: .*)", written):
        assert line in printed
    assert written.count("- memory (computed, not measured): demo, vgg16, batch") == 8


def test_what_divides_the_threads_needs_two():
    assert torch.get_num_threads() == 1
    for what, benchmark in (("scaling", scaling.benchmark_scaling), ("ahead", ahead.benchmark_ahead)):
        with pytest.raises(TimError, match=f"^{what} divides the threads over two processes.*OMP_NUM_THREADS=2"):
            benchmark("demo")
    with pytest.raises(TimError, match="--device cuda: scaling is measured on the cores of a CPU"):
        scaling.benchmark_scaling("demo", device="cuda")


def test_both_sides_of_searching_ahead_take_the_same_steps(tiny, monkeypatch):
    monkeypatch.setitem(settings.SETTINGS, "tiny", tiny)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    used, steps = [], []
    monkeypatch.setattr(torch, "set_num_threads", used.append)
    whole = TIMModel.optimize_parameters

    def counted(self, iteration):
        steps.append(self.imle.search_ahead)
        whole(self, iteration)

    monkeypatch.setattr(TIMModel, "optimize_parameters", counted)
    (found,) = ahead.benchmark_ahead("tiny", repeats=2)
    assert steps.count(True) == steps.count(False) == 4 + 5 * 8  # the first pool is one batch
    assert found.counts == {"age of the search, steps": 6, "steps a pool": 8} and set(used) == {1, 2}
    assert "ahead, 1 and 1 threads" in described(found)
