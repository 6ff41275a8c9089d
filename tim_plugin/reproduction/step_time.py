"""Seconds an iteration of several training runs, measured by turns, so that a busy machine slows all of them alike."""

from __future__ import annotations

import logging
import math
import re
import statistics
import tempfile
import time
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import torch
from tqdm import tqdm

from tim_plugin.option_file import read_forced
from tim_plugin.reproduction.training import Run
from tim_plugin.train_pipeline import train_pipeline

REPEATS = 3
POOLS = 2  # searches that are timed in each repeat; the first pools, which fill up, are not


def step_seconds(runs: Mapping[str, Run]) -> dict[str, float]:
    """Return the median over repeats of the seconds an iteration of TIM's runs, by name, search included."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    turns = [(name, run) for _ in range(REPEATS) for name, run in runs.items()]
    with tempfile.TemporaryDirectory() as scratch:
        for name, run in tqdm(turns, unit="run", desc="seconds an iteration"):
            found[name].append(_timed(run, Path(scratch)))
    return {name: statistics.median(times) for name, times in found.items()}


def logged_step_seconds(folder: Path) -> float:
    """Return the mean seconds an iteration that BasicSR logged of a run; NaN where it logged none."""
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in sorted(folder.glob("train_*.log"))]
    times = [float(found) for text in texts for found in re.findall(r"time \(data\): (\d+\.\d+)", text)]
    return statistics.mean(times) if times else math.nan


def _timed(run: Run, scratch: Path) -> float:
    opt = run.options()
    imle = opt["imle"]
    cycle = imle["reuse"] * max(imle["pool_size"] // opt["datasets"]["train"]["batch_size_per_gpu"], 1)
    skipped = 1 + imle["reuse"] * (1 + imle["reuse"]) if imle["reuse"] > 1 else 2
    total, times = skipped + POOLS * cycle, []
    forced = {**run.forced, "name": f"timing_{time.monotonic_ns()}", "path:experiments_root": str(scratch)}
    forced |= {"train:total_iter": total, "logger:progress_bar": False, "logger:use_tb_logger": False}
    _, argv = read_forced(run.option_file, forced)

    def on_step(current_iter: int, log: Mapping[str, float]) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter())

    logging.disable(logging.INFO)
    try:
        with open(scratch / "console.txt", "a") as file, redirect_stdout(file), redirect_stderr(file):
            train_pipeline(str(scratch), argv, on_step)
    finally:
        logging.disable(logging.NOTSET)
    return (times[-1] - times[skipped - 1]) / (total - skipped)
