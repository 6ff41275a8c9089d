"""Two processes on CPUs: they equal one, share validation, resume, divide a network, and end together."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from tim_plugin.models.distributed import share
from tim_plugin.utils import processes
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.folder_lock import locked

ROOT = Path(__file__).resolve().parents[2]
LAUNCH = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")


def launch(*command, **environment):
    return subprocess.run(
        [sys.executable, *LAUNCH, *map(str, command)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )


@pytest.fixture(scope="module")
def results(tmp_path_factory, photos):
    """What two processes found, by rank."""
    folder = tmp_path_factory.mktemp("two")
    done = launch(Path(__file__).with_name("two_processes.py"), photos, folder)
    assert done.returncode == 0, done.stderr[-3000:]
    return [torch.load(folder / f"result{rank}.pt", weights_only=False) for rank in range(2)]


def farthest(a, b):
    assert a.keys() == b.keys()
    return max(float((a[name] - b[name]).abs().max()) for name in a)


@pytest.mark.parametrize(("several", "one"), [("ddp", "one"), ("ddp_parts", "one_parts"), ("fsdp", "one")])
def test_two_ranks_of_batch_4_equal_one_of_batch_8(results, several, one):
    """Three steps from the weights of rank 0, given the same codes; stored weights are whole."""
    for key in ("params", "params_ema"):
        assert farthest(results[0][several][key], results[0][one][key]) < 1e-5
    for name, loss in results[0][one]["log"].items():
        if name.startswith("l_") or name == "grad_norm":
            assert results[0][several]["log"][name] == pytest.approx(loss, rel=1e-4), name


def test_parts_checkpoints_half_precision_and_clipping_of_a_divided_network(results):
    """Beside what half precision rounds (2**-8) it is the whole network's training in parts."""
    found, wanted = results[0]["fsdp_parts"], results[0]["one_parts"]
    assert 0 < farthest(found["params"], wanted["params"]) < 5e-3
    assert found["log"]["l_total"] == pytest.approx(wanted["log"]["l_total"], rel=2e-2)
    assert found["log"]["grad_norm"] == pytest.approx(wanted["log"]["grad_norm"], rel=5e-2)


def test_a_divided_network_and_its_ema_are_held_in_parts(results):
    whole = results[0]["parameters"]
    for key in ("held", "held_ema"):
        assert [one["ddp"][key] for one in results] == [whole, whole]
        held = [one["fsdp"][key] for one in results]
        assert sum(held) == whole and all(0.3 * whole < part < 0.7 * whole for part in held)
    assert [one["fsdp"]["gathered_for_ema"] for one in results] == [0, 0]


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_validation_is_shared_and_has_the_metrics_of_all(results, kind):
    """Three images on two ranks: the same samples of each image as one process draws, each saved once."""
    one = results[0]["one_validation"]
    for rank in range(2):
        found = results[rank][f"{kind}_validation"]
        assert found["metrics"] == pytest.approx(one["metrics"], abs=1e-4)
        assert found["files"] == one["files"] and len(found["files"]) == 3 * 3


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_a_resumed_run_of_two_equals_an_unbroken_one(results, kind):
    """The pools of both ranks and the optimizer go on: the command line, six iterations, resumed after the fourth."""
    found = results[0][f"{kind}_run"]
    for key in ("params", "params_ema"):
        assert all(torch.equal(found["whole"][key][name], value) for name, value in found["parts"][key].items())
    assert found["states"] == sorted(f"{step}{rank}.state" for step in (2, 4, 6) for rank in ("", ".rank1"))


def test_ranks_agree_where_they_must_and_differ_where_they_search(results):
    assert [one["seed"] for one in results] == [10, 10]
    (mine, others), (theirs, back) = (one["numbers"] for one in results)
    assert torch.equal(mine, back) and torch.equal(others, theirs) and not torch.equal(mine, theirs)


def test_shares_hold_each_item_once():
    assert [share(5, rank, 2) for rank in range(2)] == [[0, 2, 4], [1, 3]]
    assert share(1, 1, 2) == []


DYING = """
import os, signal, sys
from functools import partial
from pathlib import Path
import tim_plugin
from tim_plugin.utils.errors import TimError
from tim_plugin.cli.run import run
from tim_plugin.models.pipeline import train_pipeline

pid = Path(sys.argv[1], 'pid_of_rank_0')

def on_step(iteration, log):
    if os.environ['RANK'] == '0' and iteration == 1:
        pid.write_text(str(os.getpid()))
    if os.environ['RANK'] == '1' and iteration == 2:
        {act}

run(partial(train_pipeline, sys.argv[1], sys.argv[2:], on_step))
"""


@pytest.mark.parametrize(
    ("act", "message"),
    [
        ("raise TimError('images/7.png: cannot be read')", "error: rank 1: images/7.png: cannot be read"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "error: rank 0: "),
        (  # as when the launcher sees it before rank 0 does
            "os.kill(int(pid.read_text()), signal.SIGTERM); os.kill(os.getpid(), signal.SIGKILL)",
            "error: rank 0: ended by the launcher: another process of this run has ended without a message",
        ),
    ],
)
def test_a_rank_that_dies_ends_the_run_with_one_clear_line(tmp_path, photos, tiny_network, act, message):
    done = launch_acting(tmp_path, photos, tiny_network, act)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1 and errors[0].startswith(message), done.stderr[-3000:]
    if "SIGKILL" in act:
        assert "another process of this run has ended without a message" in errors[0] and "--auto_resume" in errors[0]


def test_a_name_in_use_is_one_line_of_all_ranks(tmp_path, photos, tiny_network):
    with locked(tmp_path / "experiments" / "dying", "another", beside=True):
        done = launch_acting(tmp_path, photos, tiny_network, "pass")
    (error,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert "name: dying: " in error and f"is in use by process {os.getpid()} on" in error
    assert not (tmp_path / "experiments").exists()


def test_a_signal_to_one_rank_ends_all_after_the_same_iteration_which_is_saved(tmp_path, photos, tiny_network):
    done = launch_acting(tmp_path, photos, tiny_network, "os.kill(int(pid.read_text()), signal.SIGTERM)")
    (error,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    states = tmp_path / "experiments" / "dying" / "training_states"
    (at,) = {path.name.split(".")[0] for path in states.iterdir()}
    assert at in "23" and f"interrupted at iteration {at}, which was saved: {states / at}.state" in error
    assert {path.name for path in states.iterdir()} == {f"{at}.state", f"{at}.rank1.state"}


def launch_acting(tmp_path, photos, tiny_network, act):
    """Train by two ranks, of which the second one acts in its second iteration."""
    opt = {
        "name": "dying",
        "model_type": "TIMModel",
        "scale": 16,
        "num_gpu": 0,
        "datasets": {
            "train": {
                "name": "t",
                "type": "DegradedImageDataset",
                "task": "sr16x",
                "dataroot_gt": str(photos),
                "gt_size": 32,
                "batch_size_per_gpu": 1,
                "num_worker_per_gpu": 0,
            }
        },
        "network_g": tiny_network,
        "imle": {"samples_per_level": 1, "pool_size": 1, "reuse": 1},
        "path": {"pretrain_network_g": None},
        "train": {
            "total_iter": 1000,
            "optim_g": {"type": "Adam", "lr": 1e-3},
            "scheduler": {"type": "MultiStepLR", "milestones": [1000]},
            "perceptual_opt": {"type": "PixelDistanceLoss"},
        },
        "logger": {"print_freq": 1000, "save_checkpoint_freq": 1000, "use_tb_logger": False},
    }
    (tmp_path / "options.yml").write_text(yaml.safe_dump(opt))
    (tmp_path / "train.py").write_text(DYING.format(act=act))
    arguments = (tmp_path, "-opt", tmp_path / "options.yml", "--launcher", "pytorch")
    done = launch(tmp_path / "train.py", *arguments, PYTHONPATH=os.pathsep.join(sys.path))
    assert done.returncode != 0
    return done


def test_more_processes_than_gpus_is_an_error_that_says_how_many(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    with pytest.raises(TimError, match="4 processes on a machine with 2 GPUs: start 2 .torchrun --nproc_per_node=2"):
        processes.join_processes({}, "pytorch")


def test_a_mistake_that_all_find_is_said_by_the_first_of_each_machine(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", "2")
    for local, first in (("0", True), ("1", False)):
        monkeypatch.setenv("LOCAL_RANK", local)
        assert processes.is_first_to_report() is first
    assert processes.rank_prefix() == "rank 2: "
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert processes.is_first_to_report() and processes.rank_prefix() == ""
