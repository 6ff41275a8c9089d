"""One command at a time writes to a folder; what a dead process has left locks nothing."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from tim_plugin.utils import folder_lock, kernel_lock
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.folder_lock import NAME, locked

ROOT = Path(__file__).resolve().parents[2]
HOLD = """
import sys
from tim_plugin.utils.folder_lock import locked
with locked(sys.argv[1], "-o out"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of ``out`` until its standard input is closed."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "out")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(folder_lock, "WATCH_S", 0.3)
    monkeypatch.setattr(folder_lock, "RENEW_S", 0.02)


@pytest.mark.parametrize("beside", [False, True])
def test_the_lock_goes_with_what_it_made_also_after_an_error(tmp_path, beside):
    target = tmp_path / "a" / "b" / "out"
    with pytest.raises(KeyError), locked(target, "-o out", beside=beside):
        assert [path.name for path in tmp_path.rglob("*.lock")] == [".out.lock" if beside else NAME]
        raise KeyError
    assert list(tmp_path.iterdir()) == []
    with locked(target, "-o out", beside=beside):
        target.mkdir(exist_ok=True)
        (target / "sample.png").write_bytes(b"kept")
    assert [path.name for path in target.iterdir()] == ["sample.png"] and len(list(target.parent.iterdir())) == 1


@pytest.mark.parametrize("kernel", [True, False])
def test_a_second_process_is_refused_by_name(tmp_path, holder, kernel, monkeypatch):
    if not kernel:
        monkeypatch.setattr(kernel_lock, "fcntl", None)
    message = f"^-o out: is in use by process {holder.pid} on {socket.gethostname()}: let it end, or write elsewhere"
    with pytest.raises(TimError, match=message), locked(tmp_path / "out", "-o out"):
        pass
    holder.communicate()
    assert not (tmp_path / "out").exists()
    with locked(tmp_path / "out", "-o out"):
        assert (tmp_path / "out" / NAME).read_text().split() == [str(os.getpid()), socket.gethostname()]


@pytest.mark.parametrize("kernel", [True, False])
def test_the_lock_of_a_killed_process_is_taken_over(tmp_path, holder, kernel, monkeypatch):
    if not kernel:
        monkeypatch.setattr(kernel_lock, "fcntl", None)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / "out" / NAME).is_file()
    with locked(tmp_path / "out", "-o out"), pytest.raises(TimError, match=f"in use by process {os.getpid()} on"):
        with locked(tmp_path / "out", "-o out"):
            pass
    assert not (tmp_path / "out" / NAME).exists()


@pytest.mark.parametrize("kernel", [True, False])
def test_a_process_of_another_host_is_watched(tmp_path, quick, kernel, monkeypatch):
    if not kernel:
        monkeypatch.setattr(kernel_lock, "fcntl", None)
    with locked(tmp_path, "-o out"):
        own = tmp_path / NAME
        other = tmp_path / "another"
        other.mkdir()
        (other / NAME).write_text("7 elsewhere\n")
        with locked(other, "-o out"):  # it is not renewed
            pass
        os.link(own, other / NAME)  # it is: as seen through a file system that hides the lock of the kernel
        own.write_text("7 elsewhere\n")
        monkeypatch.setattr(kernel_lock, "fcntl", None)
        message = f"in use by process 7 on elsewhere: .*; if that is gone, remove {other / NAME}$"
        with pytest.raises(TimError, match=message), locked(other, "-o out"):
            pass


@pytest.mark.parametrize("content", [b"", b"\xff\x00", b"no number", b"99999999999999999999 " + b"h" * 2000])
def test_a_lock_file_of_any_content_is_taken_over(tmp_path, quick, content):
    (tmp_path / NAME).write_bytes(content)
    with locked(tmp_path, "-o out"):
        assert (tmp_path / NAME).read_text().split()[0] == str(os.getpid())


def test_a_child_does_not_keep_the_lock(tmp_path):
    """Loaders' workers may outlive a killed training by seconds."""
    with ExitStack() as stack:
        stack.enter_context(locked(tmp_path, "-o out"))
        context = multiprocessing.get_context("fork")
        stop = context.Event()
        child = context.Process(target=stop.wait)
        child.start()
        stack.close()
        with locked(tmp_path, "-o out"):
            stop.set()
            child.join()
        assert child.exitcode == 0


def test_a_lock_that_somebody_removed_and_another_made_stays(tmp_path):
    with locked(tmp_path, "-o out"):
        (tmp_path / NAME).unlink()
        (tmp_path / NAME).write_text("another's")
    assert (tmp_path / NAME).read_text() == "another's"


def test_what_cannot_be_locked_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / NAME).symlink_to(tmp_path / "file")
    (tmp_path / "piped").mkdir()
    os.mkfifo(tmp_path / "piped" / NAME)
    for target in (tmp_path / "file", tmp_path / "file" / "out", tmp_path / "linked", tmp_path / "piped", "/proc/out"):
        is_file = target == tmp_path / "file"
        message = "^-o out: is a file; give a folder$" if is_file else "^-o out: cannot be written to: "
        with pytest.raises(TimError, match=message), locked(target, "-o out"):
            pass
    loop = tmp_path / "loop" / "x"
    loop.parent.symlink_to("loop")
    with (
        pytest.raises(TimError, match="^-o x: cannot be written to: "),
        locked(tmp_path / "loop/x", "-o x", beside=True),
    ):
        pass
    assert (tmp_path / "file").read_text() == "no folder"
