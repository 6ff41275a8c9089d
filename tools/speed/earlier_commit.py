"""This version against an earlier commit of the project, by turns, each measurement in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch

from speed.timing import Comparison, of_pairs, require_repeats
from tim_plugin.compat import VENDORED
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.images import write_png

ROOT = Path(__file__).resolve().parents[2]
EARLIER = "12bc970"  # before sampling folded its weights and kept its memory

# Each prints a line of JSON: processor seconds of what is timed, and the largest size of the process in MiB. The child
# finds the version that it measures by PYTHONPATH (its folder is TREE), and uses what both versions have.
END = """
print(json.dumps([spent, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
"""
SAMPLING = """
import json, resource, sys, time
import torch, tim_plugin
from torch.nn import functional as F
torch.set_num_threads(1)
side, count = int(sys.argv[2]), int(sys.argv[3])
coarse = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 0.6 + 0.2
image = F.interpolate(coarse, (side, side), mode="bilinear")[0]
tower = tim_plugin.load(sys.argv[1], device="cpu")
tower.sample(image, n=count, name="x")
started = time.process_time()
tower.sample(image, n=count, name="x")
spent = time.process_time() - started
"""
TRAINING = """
import json, os, resource, sys, time
sys.path.insert(0, os.path.join(os.environ["TREE"], "tools"))
from tim_plugin.cli.start import starting
with starting():
    import torch
    from speed.settings import SETTINGS
    from speed.steps import model_of
torch.set_num_threads(1)
imle = {"samples_per_level": 8, "pool_size": 8, "reuse": 4, "search_batch": 8, "max_candidates_per_batch": 64}
distance = {"type": "PerceptualDistanceLoss", "backbone": "tim_small", "weights": "bundled", "calibration": "bundled"}
model = model_of(SETTINGS["demo"], 8, imle=imle, perceptual_opt=distance)
def steps(first, last):
    for iteration in range(first, last + 1):
        model.feed_data({"lq": torch.rand(8, 3, 4, 4), "gt": torch.rand(8, 3, 64, 64)})
        model.optimize_parameters(iteration)
steps(1, 4)
started = time.process_time()
steps(5, 12)
spent = (time.process_time() - started) / 8
"""
STARTING = """
import json, resource, subprocess, sys, tempfile
with tempfile.TemporaryDirectory() as folder:
    words = ["sample", "-m", sys.argv[1], "-i", sys.argv[2], "-o", folder, "-n", "1", "--quiet"]
    subprocess.run([sys.executable, "-m", "tim_plugin", *words], check=True, cwd=folder)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
spent = used.ru_utime + used.ru_stime
"""


class Case(NamedTuple):
    """What is timed: a name, the child's program and its arguments."""

    what: str
    program: str
    arguments: tuple[str, ...] = ()


CASES = (
    Case("sampling, sr16x-small, 16x16, 8 samples", SAMPLING, ("sr16x-small", "16", "8")),
    Case("sampling, sr16x-small, 64x64, 1 sample", SAMPLING, ("sr16x-small", "64", "1")),
    Case("a training iteration, the demo's network", TRAINING),
    Case("start to the first PNG, sr16x-small, 8x8", STARTING, ("sr16x-small", "PICTURE")),
)


def benchmark_earlier(repeats: int = 3, commit: str = EARLIER) -> list[Comparison]:
    """Time sampling, a training iteration and the start of a command, in processor time of one thread.

    Args:
        repeats: Pairs that are timed.
        commit: Of the project's repository, that is compared with; it is checked out beside, for as long as this lasts.

    Raises:
        TimError: This is no repository, or has no such commit.
    """
    require_repeats(repeats)
    with _checked_out(commit) as tree:
        return [_compared(case, tree, commit, repeats) for case in CASES]


def _compared(case: Case, tree: Path, commit: str, repeats: int) -> Comparison:
    pairs = [(_measured(case, tree), _measured(case, ROOT)) for _ in range(repeats)]
    before, now = ([pair[side] for pair in pairs] for side in (0, 1))
    sizes = {
        name: f"{statistics.median(size for _, size in one):.0f} MiB"
        for name, one in (("largest size before", before), ("largest size now", now))
    }
    return of_pairs(
        "against an earlier commit",
        case.what,
        (commit, "now"),
        [(earlier[0], later[0]) for earlier, later in pairs],
        counts={} if case.program is STARTING else sizes,
    )


def _measured(case: Case, tree: Path) -> tuple[float, float]:
    """Return processor seconds and MiB of a case by the version in a folder."""
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "picture.png"
        if "PICTURE" in case.arguments:
            write_png(picture, torch.full((3, 8, 8), 0.5))
        words = [str(picture) if word == "PICTURE" else word for word in case.arguments]
        found = os.pathsep.join([str(tree), str(VENDORED)])  # BasicSR, where it is beside this version alone
        environment = {**os.environ, "PYTHONPATH": found, "TREE": str(tree), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, "-c", case.program + END, *words],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
        )
    if done.returncode:
        raise TimError(f"{case.what} of {tree}: failed: {done.stderr.strip().splitlines()[-1]}")
    seconds, size = json.loads(done.stdout.strip().splitlines()[-1])
    return seconds, size


@contextmanager
def _checked_out(commit: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "earlier"
        git = ["git", "-C", str(ROOT), "worktree"]
        if shutil.which("git") is None:
            raise TimError(f"earlier: {commit} cannot be checked out: git is not installed")
        done = subprocess.run([*git, "add", "--detach", str(tree), commit], capture_output=True, text=True)
        if done.returncode:
            raise TimError(f"earlier: {commit} cannot be checked out: {done.stderr.strip().splitlines()[-1]}")
        try:
            yield tree
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], capture_output=True)
