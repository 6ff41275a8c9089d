"""Seconds an iteration of several training runs, measured by turns, whatever else the machine does."""

from __future__ import annotations

import logging
import math
import re
import statistics
import tempfile
import time
from collections.abc import Mapping
from contextlib import nullcontext, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from paper.cached_runs import kept_json
from paper.parallel_runs import Run
from paper.run_conditions import machine, using_threads
from tim_plugin.models.pipeline import train_pipeline
from tim_plugin.options.option_file import read_with_overrides

REPEATS = 3  # of wall-clock time, of which the median is taken; processor time is measured once
POOLS = 2  # searches that are timed in each repeat; the first pools, which fill up, are not
SKIPPED_STEPS, TIMED_STEPS = 5, 20  # of a run that does not search
PROCESSOR = "processor time of one thread, measured by turns"
WALL_CLOCK = f"wall-clock time, median of {REPEATS}, measured by turns"


def clock_of(run: Run) -> str:
    """Return what a run's seconds are: :data:`PROCESSOR` on the CPU, :data:`WALL_CLOCK` on a GPU."""
    return WALL_CLOCK if torch.cuda.is_available() and run.options().get("num_gpu", "auto") != 0 else PROCESSOR


def kept_step_seconds(runs: Mapping[str, Run], root: Path) -> dict[str, float]:
    """Return :func:`step_seconds` of finished runs, from the folder of the first of them if they are there.

    They are kept under a digest of all the runs (only what was measured by turns compares), the hardware, the versions
    and the way of measuring.

    Args:
        runs: By name.
        root: The project's folder.
    """
    first = next(iter(runs.values()))
    clock, folders = clock_of(first), {name: run.name() for name, run in runs.items()}
    made_by = machine(root, "cpu" if clock == PROCESSOR else "cuda")
    key = {"runs": sorted(folders.values()), "clock": clock, "steps": [POOLS, SKIPPED_STEPS, TIMED_STEPS]}
    key |= {name: made_by[name] for name in ("hardware", "versions")}

    def measure() -> dict[str, Any]:
        found = step_seconds(runs)
        return {"seconds": {folders[name]: value for name, value in found.items()}, "clock": clock, **made_by}

    kept = kept_json(root / "experiments" / first.name(), "step_seconds", key, measure)["seconds"]
    return {name: kept[folder] for name, folder in folders.items()}


def step_seconds(runs: Mapping[str, Run]) -> dict[str, float]:
    """Return the seconds an iteration of runs by name, search and data included, as :func:`clock_of` says."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    repeats = max(1 if clock_of(run) == PROCESSOR else REPEATS for run in runs.values())
    turns = [(name, run) for _ in range(repeats) for name, run in runs.items()]
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
    skipped, timed = _steps(run.options())
    on_cpu, times = clock_of(run) == PROCESSOR, []
    argv = _timing_arguments(run, skipped + timed, scratch, on_cpu)

    def on_step(current_iter: int, log: Mapping[str, float]) -> None:
        if not on_cpu:
            torch.cuda.synchronize()
        times.append(time.process_time() if on_cpu else time.perf_counter())

    logging.disable(logging.INFO)
    try:
        with (
            using_threads(1) if on_cpu else nullcontext(),
            open(scratch / "console.txt", "a") as file,
            redirect_stdout(file),
            redirect_stderr(file),
        ):
            train_pipeline(str(scratch), argv, on_step)
    finally:
        logging.disable(logging.NOTSET)
    return (times[-1] - times[skipped - 1]) / timed


def _timing_arguments(run: Run, total: int, scratch: Path, on_cpu: bool) -> list[str]:
    overrides = {**run.overrides, "name": f"timing_{time.monotonic_ns()}", "path:experiments_root": str(scratch)}
    overrides |= {"train:total_iter": total, "logger:progress_bar": False, "logger:use_tb_logger": False}
    overrides["logger:save_checkpoint_freq"] = total + 1
    if on_cpu:
        overrides["datasets:train:num_worker_per_gpu"] = 0  # other processes' time is not seen
    return read_with_overrides(run.option_file, overrides)[1]


def _steps(opt: Mapping[str, Any]) -> tuple[int, int]:
    """How many steps are skipped and timed: of a run that searches, whole turns of its pool."""
    if not opt.get("imle"):
        return SKIPPED_STEPS, TIMED_STEPS
    imle = opt["imle"]
    cycle = imle["reuse"] * max(imle["pool_size"] // opt["datasets"]["train"]["batch_size_per_gpu"], 1)
    skipped = 1 + imle["reuse"] * (1 + imle["reuse"]) if imle["reuse"] > 1 else SKIPPED_STEPS
    return skipped, cycle * max(POOLS, -(-TIMED_STEPS // cycle))
