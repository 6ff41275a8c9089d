"""The conditions that stand beside figures."""

from __future__ import annotations

import subprocess

from tim_plugin.reproduction.conditions import machine


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
