"""Several training runs, one or more at a time, each in a process of its own, with one bar for all of them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tqdm import tqdm

from paper.cached_runs import finished_checkpoint, run_name, trained_checkpoint
from tim_plugin.options.option_file import read_with_overrides
from tim_plugin.utils.processes import left_to_this_process

POLL_S = 0.5
_steps: Any = None  # a worker's counter, shared with the parent


class Run(NamedTuple):
    """A training run.

    Attributes:
        option_file: Of the run.
        overrides: Options that replace the file's, as ``--force_yml`` names them.
        label: For people; the run is ``experiments/LABEL_HASH``.
    """

    option_file: Path
    overrides: Mapping[str, Any]
    label: str

    def options(self) -> dict[str, Any]:
        """Return the options that the run is made with."""
        return read_with_overrides(self.option_file, self.overrides)[0]

    def iterations(self) -> int:
        """Return how many steps it takes."""
        return int(self.options()["train"]["total_iter"])

    def name(self) -> str:
        """Return the name of its folder below ``experiments``."""
        return run_name(self.option_file, self.overrides, self.label)


def train_all(runs: Sequence[Run], root: Path, jobs: int = 1) -> list[Path]:
    """Return the checkpoints of runs, training those that are missing or unfinished.

    Args:
        runs: What to train.
        root: The project's folder.
        jobs: Runs at a time, each with its share of the processor's cores: two small networks side by side take less
            time than one after the other.

    Raises:
        TimError: An option or the data are wrong; runs that were going on stop and can be resumed.
    """
    done = {index: finished_checkpoint(*run, root) for index, run in enumerate(runs)}
    missing = [index for index, path in done.items() if path is None]
    if missing:
        done |= _trained(missing, runs, root, jobs)
    return [done[index] for index in range(len(runs))]


def _trained(missing: Sequence[int], runs: Sequence[Run], root: Path, jobs: int) -> dict[int, Path]:
    total = sum(runs[index].iterations() for index in missing)
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    steps = context.Value("q", 0)
    threads = max(torch.get_num_threads() // jobs, 1)  # what OMP_NUM_THREADS grants, else all cores
    found: dict[int, Path] = {}
    bar = tqdm(total=total, unit="it", desc=f"{len(missing)} training runs", smoothing=0.02)
    pool = ProcessPoolExecutor(jobs, context, _start_worker, (steps, threads))
    try:
        with left_to_this_process(signal.SIGINT):  # SIGTERM lets a run save its state
            waiting = {pool.submit(_train, runs[index], root): index for index in missing}
        while waiting:
            finished, _ = wait(waiting, POLL_S, FIRST_COMPLETED)
            bar.update(steps.value - bar.n)
            for future in finished:
                found[waiting.pop(future)] = future.result()
    finally:
        bar.close()
        for process in list((pool._processes or {}).values()):  # a failed run must not leave the others running
            if len(found) < len(missing):
                process.terminate()  # a run saves its state first
        pool.shutdown(wait=True, cancel_futures=True)
    return found


def _start_worker(steps: Any, threads: int) -> None:
    global _steps
    _steps = steps
    torch.set_num_threads(threads)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A killed parent can end nobody any more; without this its training runs would go on unseen."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _train(run: Run, root: Path) -> Path:
    """Train in this process; what BasicSR prints goes to a file beside the run."""
    log = root / "experiments" / f"{run.label}.console.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "a", encoding="utf-8") as file:
        sys.stdout.flush()
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        return trained_checkpoint(*run, root, _count)


def _count(current_iter: int, log: Mapping[str, float]) -> None:
    with _steps.get_lock():
        _steps.value += 1
