"""Worker processes start and end also from a process that has used OpenCV's threads."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from functools import partial

import pytest

from tim_plugin.data.workers import results, track, worker_pool
from tim_plugin.utils.errors import MachineError

SCRIPT = """
import sys
from pathlib import Path
import cv2
import numpy as np
import tim_plugin
from tim_plugin.data.rarity_scan import compute_rarity
from tim_plugin.degradations.labels import Labels

if __name__ == "__main__":
    cv2.setNumThreads(4)
    cv2.cvtColor(np.zeros((3000, 3000, 3), np.uint8), cv2.COLOR_RGB2BGR)
    photos, label_maps = map(Path, sys.argv[1:])
    print(len(compute_rarity(photos, label_maps, Labels("camvid"), workers=2).sources), cv2.getNumThreads())
"""


def test_workers_do_not_wait_for_threads_of_opencv(photos, label_maps):
    command = [sys.executable, "-c", SCRIPT, str(photos), str(label_maps)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.split()) == (0, ["6", "4"]), done.stderr


def die_of(task):
    """End the worker as the system does where memory runs out."""
    if task == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return task


@pytest.fixture
def forked():
    """As before Python 3.14: workers of a server would look for this test's module, which cannot be imported."""
    before = multiprocessing.get_start_method()
    multiprocessing.set_start_method("fork", force=True)
    yield
    multiprocessing.set_start_method(before, force=True)


def fail_at_once(folder, task):
    """Leave a file for each task; the first one fails."""
    (folder / str(task)).touch()
    if task == 0:
        raise ValueError("task 0")
    time.sleep(0.05)
    return task


def test_after_a_failure_workers_leave_the_rest_and_end_by_themselves(forked, tmp_path):
    """One that is terminated while it hands a result on would leave the others waiting for ever."""
    with pytest.raises(ValueError, match="task 0"), worker_pool(2) as pool:
        workers = list(pool._pool)
        list(results(pool, partial(fail_at_once, tmp_path), range(100)))
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert len(list(tmp_path.iterdir())) < 50


def test_a_worker_that_is_killed_ends_the_work_and_is_not_waited_for(forked, capsys):
    assert track(die_of, [0, 1], 2) == [0, 1] and track(die_of, [0, 1, 3, 4, 5], 2, together=2) == [0, 1, 3, 4, 5]
    with pytest.raises(MachineError, match="^a worker process was ended by the system, .*: use fewer --workers"):
        track(die_of, [0, 1, 2, 3], 2)


def test_workers_leave_sigterm_to_the_main_process(forked, tmp_path):
    """Who sends it to a whole group ended them while they held what the pool waits for."""
    with worker_pool(2) as pool:
        for worker in pool._pool:
            os.kill(worker.pid, signal.SIGTERM)
        assert list(results(pool, abs, [-1, -2, -3])) == [1, 2, 3]
