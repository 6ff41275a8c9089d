"""Files are written whole or not at all, on the disk before they have their names, and killed writers leave nothing."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal

import pytest
import torch

from support.limits import files_of_at_most
from tim_plugin.utils import writing
from tim_plugin.utils.checkpoints import save_atomically
from tim_plugin.utils.writing import appending, move, replacing, temporary_folder, write_atomically

LEFT = ".tim-*.tmp"


def test_a_file_is_on_the_disk_before_it_has_its_name_and_its_folder_is_after(tmp_path, monkeypatch):
    done, sync, rename = [], os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda what: (done.append(os.readlink(f"/proc/self/fd/{what}")), sync(what)))
    monkeypatch.setattr(os, "replace", lambda *paths: (done.append("renamed"), rename(*paths)))
    write_atomically(tmp_path / "a", b"content")
    assert done[1:] == ["renamed", str(tmp_path)] and done[0].startswith(f"{tmp_path}/.tim-")
    done.clear()
    with temporary_folder(tmp_path) as folder:
        (folder / "b").write_bytes(b"of another library")
        move(folder / "b", tmp_path / "b")
    assert done == [f"{folder}/b", "renamed", str(tmp_path)]
    assert sorted((path.name, path.read_bytes()) for path in tmp_path.iterdir()) == [
        ("a", b"content"),
        ("b", b"of another library"),
    ]


def test_no_link_is_followed_and_no_file_of_that_name_overwritten(tmp_path, monkeypatch):
    target = tmp_path / "target"
    target.write_bytes(b"mine")
    names = iter(["link", "file", "free"])
    monkeypatch.setattr(writing.secrets, "token_hex", lambda size: next(names))
    (tmp_path / ".tim-link.tmp").symlink_to(target)
    (tmp_path / ".tim-file.tmp").write_bytes(b"another's")
    writing._seen.add(tmp_path)  # nothing is tidied up
    write_atomically(tmp_path / "a", b"content")
    assert target.read_bytes() == b"mine" and (tmp_path / ".tim-file.tmp").read_bytes() == b"another's"
    assert (tmp_path / "a").read_bytes() == b"content"
    (tmp_path / "log").symlink_to(target)
    with pytest.raises(OSError, match="symbolic links"), appending(tmp_path / "log") as log:
        log.write(b"more")
    assert target.read_bytes() == b"mine"


def test_names_cannot_be_guessed(tmp_path):
    names = set()
    for _ in range(3):
        with replacing(tmp_path / "a") as file:
            file.write(b"x")
            names |= {path.name for path in tmp_path.glob(LEFT)}
    assert len(names) == 3 and max(map(len, names)) < 20


@pytest.mark.parametrize("write", ["bytes", "torch"])
def test_what_does_not_fit_names_the_file_and_leaves_what_was_there(tmp_path, write):
    path = tmp_path / "a.pth"
    path.write_bytes(b"before")
    with files_of_at_most(50_000), pytest.raises(OSError, match="File too large") as found:
        if write == "bytes":
            write_atomically(path, bytes(100_000))
        else:
            save_atomically({"a": torch.zeros(10), "b": torch.zeros(200, 200)}, path)
    assert found.value.errno == errno.EFBIG and found.value.filename == str(path)
    assert [one.name for one in tmp_path.iterdir()] == ["a.pth"] and path.read_bytes() == b"before"


def test_a_folder_that_is_gone_names_the_file(tmp_path):
    with pytest.raises(FileNotFoundError) as found:
        write_atomically(tmp_path / "gone" / "a", b"")
    assert found.value.filename == str(tmp_path / "gone" / "a")


def hold(folder, ready, go):
    """Write a file and a folder of files, and wait in the middle of both."""
    with replacing(folder / "a") as file, temporary_folder(folder) as own:
        (own / "b").write_bytes(b"x")
        file.write(b"half")
        file.flush()
        ready.set()
        go.wait(60)


def test_what_a_killed_process_has_left_goes_and_what_a_living_one_writes_stays(tmp_path):
    context = multiprocessing.get_context("fork")
    events = [(context.Event(), context.Event()) for _ in range(2)]
    processes = [context.Process(target=hold, args=(tmp_path, *pair)) for pair in events]
    for process, (ready, _) in zip(processes, events, strict=True):
        process.start()
        assert ready.wait(60)
    others = tmp_path / ".tim-notes.txt"
    others.write_text("not ours")
    assert len(list(tmp_path.glob(LEFT))) == 4
    os.kill(processes[0].pid, signal.SIGKILL)
    processes[0].join()
    writing._seen.discard(tmp_path)
    write_atomically(tmp_path / "c", b"")
    assert len(list(tmp_path.glob(LEFT))) == 2 and others.exists()
    events[1][1].set()
    processes[1].join()
    assert processes[1].exitcode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [".tim-notes.txt", "a", "c"]


def test_who_tidies_up_between_making_and_locking_takes_no_file_away(tmp_path, monkeypatch):
    lock, calls = writing.try_lock, []

    def tidied(descriptor):
        if not calls:
            calls.append("another process")
            for path in tmp_path.glob(LEFT):
                writing._remove_if_left(path)
        return lock(descriptor)

    monkeypatch.setattr(writing, "try_lock", tidied)
    write_atomically(tmp_path / "a", b"content")
    assert calls and [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"content"


@pytest.mark.parametrize("write", ["write_atomically", "move"])
def test_what_is_no_file_is_not_replaced_by_one(tmp_path, write):
    """As root, /dev/null would be gone for every program of the machine."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "other").write_bytes(b"x")
    act = {"write_atomically": lambda: write_atomically(tmp_path / "pipe", b"x")}
    act["move"] = lambda: move(tmp_path / "other", tmp_path / "pipe")
    with pytest.raises(OSError, match="Is a device or a named pipe, and no file.*pipe"):
        act[write]()
    assert (tmp_path / "pipe").is_fifo() and sorted(path.name for path in tmp_path.iterdir()) == ["other", "pipe"]
