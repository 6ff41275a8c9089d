"""The conditions that stand beside figures."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from paper import cached_runs
from paper.run_conditions import machine, trained_at


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_a_commit_is_dirty_by_what_changes_figures_not_by_pages(tmp_path):
    def git(*command):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *command], cwd=tmp_path, check=True)

    for name in ("docs/results/small/table2.md", "docs/models/x.md", "code.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("old")
    git("init", "-q")
    assert machine(tmp_path, "cpu")["commit"].startswith("unknown")
    git("add", ".")
    git("commit", "-qm", "first")
    commit = machine(tmp_path, "cpu")["commit"]
    assert len(commit) >= 7 and "dirty" not in commit
    (tmp_path / "docs/results/small/table2.md").write_text("new")
    (tmp_path / "docs/models/x.md").write_text("new")
    assert machine(tmp_path, "cpu")["commit"] == commit
    (tmp_path / "code.py").write_text("new")
    assert machine(tmp_path, "cpu")["commit"] == f"{commit}-dirty"
    git("add", "code.py")
    assert machine(tmp_path, "cpu")["commit"] == f"{commit}-dirty"


def test_without_git_the_commit_is_unknown(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine(tmp_path, "cpu")["commit"] == "unknown"


@pytest.fixture
def trainer(monkeypatch):
    """Training that only leaves a checkpoint, and a commit that can be set."""
    commit = {}

    def train(root, argv, on_step):
        name = next(one.split("=", 1)[1].strip('"') for one in argv if one.startswith("name="))
        models = commit["root"] / "experiments" / name / "models"
        models.mkdir(parents=True)
        (models / "net_g_latest.pth").touch()

    monkeypatch.setattr(cached_runs, "train_pipeline", train)
    monkeypatch.setattr(
        cached_runs, "machine", lambda root, device: {"commit": commit["now"], "hardware": f"a {device}"}
    )
    return commit


def test_a_run_keeps_the_commit_and_hardware_that_it_was_trained_with(project_copy, trainer):
    file = project_copy / "tools" / "paper" / "options" / "train_small_sr16x.yml"
    trainer.update(root=project_copy, now="first")

    def run(**overrides):
        return cached_runs.trained_checkpoint(file, overrides, "run", project_copy).parent.parent.name

    name = run()
    trainer["now"] = "second"
    assert run() == name
    assert trained_at(project_copy, [name]) == {"training_commit": "first", "training_hardware": "a cpu"}
    other = run(manual_seed=1)
    (project_copy / "experiments" / "old").mkdir()
    found = trained_at(project_copy, [name, other, name, "old"])
    assert found["training_commit"] == "first; second; not recorded"
