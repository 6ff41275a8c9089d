"""The benchmark of a GPU, run on the CPU with tiny sizes; without a GPU it says so."""

from __future__ import annotations

import json
import runpy
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from speed import gpu, settings

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def tiny(tiny_network):
    network = {key: value for key, value in tiny_network.items() if key != "type"}
    return settings.Setting(network | {"num_levels": 2}, lq_px=4, examples=1, candidates=2, at_once=2)


def test_every_part_has_figures(tiny):
    found = gpu.benchmark_gpu("cpu", tiny, tiny, "tim_small")
    samples, steps, sampling, search, *training = json.loads(json.dumps(found)).values()
    assert samples == {"largest difference in steps of 1/255": 0}
    assert steps == {"losses, relative difference": [0] * 3, "weights, largest difference": 0}
    timed = [*sampling.values(), search["fp32"], search["bf16"], *training]
    assert len(timed) == 6 and all(one["seconds"] > 0 and one["peak memory, MiB"] > 0 for one in timed)
    assert search["bf16 against fp32"]["selected distance, relative change"] == pytest.approx(0, abs=0.1)


def test_a_part_that_does_not_fit_or_comes_too_late_is_said_so(tiny, monkeypatch):
    def too_large(*_):
        raise torch.OutOfMemoryError("no memory")

    for name in ("same_steps", "sampling", "search", "step"):
        monkeypatch.setattr(gpu, name, too_large)
    small = replace(tiny, lq_px=2)
    assert "does not fit" in list(gpu.benchmark_gpu("cpu", small, small, "tim_small").values())[-1]["left out"]
    monkeypatch.setattr(gpu, "LIMIT_S", -1.0)
    assert {tuple(one) for one in gpu.benchmark_gpu("cpu", small, small).values()} == {("left out",)}


@pytest.mark.skipif(torch.cuda.is_available(), reason="without a GPU")
def test_without_a_gpu_it_is_one_sentence(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["benchmark.py", "gpu"])
    with pytest.raises(SystemExit):
        runpy.run_path(str(ROOT / "tools" / "benchmark.py"), run_name="__main__")
    assert "error: --device cuda: is not to be had on this machine" in capsys.readouterr().err
