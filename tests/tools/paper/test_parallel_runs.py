"""Training runs by several processes: logged apart, failures said, and ended with a killed parent."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from paper.step_time import logged_step_seconds
from tim_plugin.utils.errors import TimError

ROOT = Path(__file__).resolve().parents[3]


def test_two_runs_of_one_process_are_logged_apart(bench):
    system = bench.preset.tim("sr16x")
    paths = bench.train([bench.run(system, 0), bench.run(system, 1), bench.run(system, 2)])  # by two processes
    assert all(list(path.parent.parent.glob("train_*.log")) for path in paths)
    assert all(logged_step_seconds(path.parent.parent) > 0 for path in paths)


def test_a_worker_that_fails_says_why(bench):
    run = bench.run(bench.preset.tim("sr16x"), 0, {"datasets:train:batch_size_per_gpu": 999})
    with pytest.raises(TimError, match="do not fill one batch of 999|pool_size"):
        bench.train([run])


START = """
import time
from concurrent.futures import ProcessPoolExecutor
import multiprocessing, os
from paper import parallel_runs as training

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(1, context, training._start_worker, (context.Value("q", 0), 1))
    print(pool.submit(os.getpid).result(), flush=True)
    pool.submit(time.sleep, 600).result()
"""


def test_training_runs_end_with_a_killed_parent(tmp_path):
    (tmp_path / "start.py").write_text(START)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tools")])}
    parent = subprocess.Popen([sys.executable, "start.py"], cwd=tmp_path, env=environment, stdout=subprocess.PIPE)
    worker = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    for _ in range(300):
        if not is_running(worker):
            break
        time.sleep(0.1)
    assert not is_running(worker)


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
