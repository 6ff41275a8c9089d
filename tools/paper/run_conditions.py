"""What stands beside each figure: option file, checkpoint, commit and hardware."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from tim_plugin import __version__
from tim_plugin.utils.errors import TimError

WRITTEN = ("docs/results", "docs/models")  # by the commands that print a commit: what they wrote changes no figure

DIRTY = "-dirty"
MACHINE = "machine.json"  # in a run's folder


def conditions_of(
    option_file: Path, opt: Mapping[str, Any], checkpoint: Path, data: Path, root: Path, device: str | torch.device
) -> dict[str, Any]:
    """Return the conditions of a run with these options; paths are shortened to what means something elsewhere."""
    return {
        "option_file": str(option_file.relative_to(root)),
        "run": checkpoint.parent.parent.name,
        "iterations": opt["train"]["total_iter"],
        "training_seed": opt["manual_seed"],
        "data_set": data.resolve().name,
        **machine(root, device),
        **trained_at(root, [checkpoint.parent.parent.name]),
    }


def trained_at(root: Path, runs: Iterable[str]) -> dict[str, str]:
    """Return by which commits and on what hardware runs were trained, which may be other than those of the page.

    Args:
        root: The project's folder.
        runs: Their names, below ``experiments``.
    """
    files = [root / "experiments" / name / MACHINE for name in dict.fromkeys(runs)]
    return made_by("training", files)


def made_by(what: str, files: Sequence[Path]) -> dict[str, str]:
    """Return by which commits and on what hardware something was made: ``WHAT_commit``, ``WHAT_hardware``.

    Args:
        what: That was made.
        files: Each holds what :func:`machine` gave; of one that is not there it was not recorded.
    """
    machines = [json.loads(file.read_text()) if file.is_file() else {} for file in files]
    return {
        f"{what}_{key}": "; ".join(dict.fromkeys(one.get(key, "not recorded") for one in machines))
        for key in ("commit", "hardware")
    }


def machine(root: Path, device: str | torch.device) -> dict[str, str]:
    """Return commit, hardware and versions."""
    return {
        "commit": _commit(root),
        "hardware": f"{_device_name(torch.device(device))}, {os.cpu_count()} cores",
        "versions": f"tim_plugin {__version__}, torch {torch.__version__}, Python {platform.python_version()}",
    }


def clean_machine(root: Path, device: str | torch.device) -> dict[str, str]:
    """Return commit, hardware and versions for a page that others are to follow.

    Raises:
        TimError: The commit is not what the files are.
    """
    found = machine(root, device)
    if found["commit"].endswith(DIRTY):
        raise TimError(f"{root}: has changes since commit {found['commit'].removesuffix(DIRTY)}: commit them first")
    return found


@contextmanager
def using_threads(count: int) -> Iterator[None]:
    """Compute with so many threads for as long as this lasts.

    Processor time is taken with one: several wait for each other busily, which counts as work.
    """
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(count)
        yield
    finally:
        torch.set_num_threads(before)


def _commit(root: Path) -> str:
    commit = _git(root, "describe", "--always")
    changed = _git(root, "status", "--porcelain", "--untracked-files=no", "--", ".", *(f":!{one}" for one in WRITTEN))
    return f"{commit or 'unknown'}{DIRTY if changed else ''}"


def _git(root: Path, *command: str) -> str:
    """Return what git prints, nothing where this is no repository or git is not installed."""
    if shutil.which("git") is None:
        return ""
    return subprocess.run(["git", *command], cwd=root, capture_output=True, text=True).stdout.strip()


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
