"""This version against an earlier commit: each case runs, and a commit that is not there is one sentence."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from speed import earlier_commit
from speed.earlier_commit import CASES, ROOT, benchmark_earlier
from tim_plugin.utils.errors import TimError

needs_git = pytest.mark.skipif(
    not (ROOT / ".git").exists() or shutil.which("git") is None, reason="this is no checkout, or git is not installed"
)


@needs_git
def test_a_commit_that_is_not_there_is_named():
    with pytest.raises(TimError, match="earlier: 0000000 cannot be checked out: .*invalid reference"):
        benchmark_earlier(1, "0000000")


@needs_git
def test_sampling_is_timed_in_both_and_the_checkout_goes(monkeypatch):
    monkeypatch.setattr(earlier_commit, "CASES", (CASES[0]._replace(arguments=("mnist-pca", "32", "1")), CASES[-1]))
    trees = subprocess.run(["git", "worktree", "list"], cwd=ROOT, capture_output=True, text=True).stdout
    sampling, starting = benchmark_earlier(1, "HEAD")
    assert sampling.ratio > 0 and sampling.counts["largest size now"].endswith("MiB") and starting.ratio > 0
    assert subprocess.run(["git", "worktree", "list"], cwd=ROOT, capture_output=True, text=True).stdout == trees


def test_without_git_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TimError, match="^earlier: HEAD cannot be checked out: git is not installed$"):
        benchmark_earlier(1, "HEAD")
