"""Runs a program of the project as a user does, in a process of its own, without importing torch for each anew.

A server process imports what all programs need, once, and forks for each of them: the program has its own arguments,
folder, environment and streams, and ends with its own exit status.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["support.command_line_imports"])


class Done(NamedTuple):
    """What :class:`subprocess.CompletedProcess` has."""

    returncode: int
    stdout: str
    stderr: str


def run_program(
    program: Path | str,
    *arguments: Any,
    cwd: Path | str = ROOT,
    first: Callable[[], None] | None = None,
    **environment: str,
) -> Done:
    """Run a Python file, or ``-m`` and a module, with arguments in a folder, with one thread.

    ``first`` is called in the program's process, once it has its folder, environment and file descriptors.

    Returns:
        What it printed and its exit status; negative if a signal ended it.

    Raises:
        TimeoutError: It did not end within five minutes.
    """
    with tempfile.TemporaryDirectory() as folder:
        streams = [Path(folder) / name for name in ("out", "err")]
        words = [str(word) for word in (program, *arguments)]
        everything = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
        process = SERVER.Process(target=_run, args=(words, str(cwd), everything, streams, first))
        with pytest.MonkeyPatch.context() as patch:  # before Python 3.12 the server has not our sys.path
            patch.setenv("PYTHONPATH", os.pathsep.join(map(str, (ROOT / "tests", ROOT))))
            patch.setenv("OMP_NUM_THREADS", "1")  # read once, as the server loads torch; other threads of it ask again
            process.start()
        try:
            process.join(300)
        finally:
            hangs = process.is_alive()
            process.kill()
        if hangs:
            raise TimeoutError(f"{words} did not end; it printed {[path.read_text() for path in streams]}")
        return Done(process.exitcode, *(path.read_text(errors="replace") for path in streams))


def _run(
    words: list[str],
    cwd: str,
    environment: Mapping[str, str],
    streams: list[Path],
    first: Callable[[], None] | None,
) -> None:
    for number, path in enumerate(streams, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    multiprocessing.process.current_process()._config["daemon"] = False  # may start workers
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    if first is not None:
        first()
    sys.stdout, sys.stderr = _stream(1, "strict"), _stream(2, "backslashreplace")  # as after exec
    if words[0] == "-m":
        sys.argv, sys.path[0] = words[1:], cwd
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv, sys.path[0] = words, str(Path(words[0]).resolve().parent)
        runpy.run_path(words[0], run_name="__main__")


def _stream(number: int, errors: str) -> Any:
    try:
        return open(number, "w", errors=errors, closefd=False)
    except OSError:  # it is closed
        return None
