"""What commands say where they fail: one line for what a user can mend, and a fault of ours is said to be one."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import shutil

import cv2
import numpy as np
import pytest
import torch

from support.command_lines import run_program
from support.limits import files_of_at_most
from tim_plugin.cli import told
from tim_plugin.cli.main import main
from tim_plugin.cli.run import run
from tim_plugin.utils.errors import MachineError, NonFiniteError, TimError
from tim_plugin.utils.images import write_png


def failing(error):
    def command():
        raise error

    return command


def left_with(function, *args, **options):
    try:
        function(*args, **options)
    except SystemExit as left:
        return left.code
    return 0


FULL = "cannot be written or read: No space left on device: make room; what was written stays: give the same command"
REFUSED = {
    f"/x/a.png: {FULL}": OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/x/a.png"),
    f"what is printed: {FULL}": OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
    "/x: cannot be written or read: Permission denied: give a place where this user": PermissionError(
        errno.EACCES, os.strerror(errno.EACCES), b"/x"
    ),
    "memory ran out: give it less": MemoryError(),
    "memory ran out: give  it less": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    "memory ran out:  give it less": RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory"),
    "memory ran  out: give it less": RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED"),
    "memory  ran out: give it less": cv2.error("(-4:Insufficient memory) Failed to allocate 12 bytes"),
    "memory ran out: give it less at": OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
    "no further thread could be started: allow more processes": RuntimeError("can't start new thread"),
    "a process that loads data was ended by": RuntimeError("DataLoader worker (pid 3) is killed by signal: Killed."),
    "what reads the output has ended": BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)),
    "a path begins with ~, and there is no such user's home": RuntimeError("Could not determine home directory."),
    "a loss is NaN": NonFiniteError("a loss is NaN"),
    "a worker was ended": MachineError("a worker was ended"),
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_what_the_machine_refuses_is_one_line(sentence, capsys):
    assert left_with(run, failing(REFUSED[sentence])) == 1
    printed = capsys.readouterr().err
    assert printed.startswith(f"error: {' '.join(sentence.split())}") and printed.count("\n") == 1


def test_a_mistake_is_one_line_and_status_2(capsys):
    assert left_with(run, failing(TimError("-i x: is out of memory cards"))) == 2
    assert capsys.readouterr().err == "error: -i x: is out of memory cards\n"


@pytest.mark.parametrize(
    "error", [ZeroDivisionError("by us"), OSError("without a number"), RuntimeError("size mismatch")]
)
def test_a_fault_of_ours_has_its_traceback_and_says_whose_it_is(error, capsys):
    assert left_with(run, failing(error)) == 1
    printed = capsys.readouterr().err
    assert "Traceback" in printed and f"{type(error).__name__}: {error}" in printed
    assert printed.endswith(f"\nerror: {told.OURS}\n")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no /dev/full")
@pytest.mark.parametrize("command", [["models"], ["sample", "--list-models"]])
def test_a_full_disk_behind_the_output_is_one_line(command, tmp_path):
    program = tmp_path / "into_full.py"
    program.write_text(
        "import os, sys\nos.dup2(os.open('/dev/full', os.O_WRONLY), 1)\nfrom tim_plugin.cli.main import main\nmain()\n"
    )
    done = run_program(program, *command)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: what is printed: {FULL}") and done.stderr.count("\n") == 1


@pytest.fixture
def image(tmp_path):
    torch.manual_seed(0)
    write_png(tmp_path / "in" / "a.png", torch.rand(3, 24, 24))
    return tmp_path / "in" / "a.png"


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_sampling_and_evaluating_on_a_full_disk(tmp_path, image, capsys):
    out = tmp_path / "out"
    sample = ["sample", "-i", str(image.parent), "-o", str(out), "--model", "sr4x-small", "-n", "2", "--device", "cpu"]
    with files_of_at_most(5_000):
        assert left_with(main, sample) == 2
    said = capsys.readouterr().err
    assert f"error: {out / 'a_s00.png'}: cannot be written: File too large" in said and "Traceback" not in said
    assert not [name for name in files_of(out) if name.endswith((".png", ".tmp"))]
    assert left_with(main, [*sample, "--skip-existing"]) == 0
    before = files_of(out)
    assert {"a_s00.png", "a_s01.png", "samples.json"} <= before.keys()
    gt, figures = tmp_path / "gt", tmp_path / "figures.json"
    gt.mkdir()
    shutil.copy(out / "a_s00.png", gt / "a.png")
    evaluate = ["evaluate", "--pred", str(out), "--gt", str(gt), "--metrics", "psnr", "-o", str(figures)]
    (out / "a_sheet.png").unlink()
    figures.write_text("before")
    capsys.readouterr()
    with files_of_at_most(100):
        assert left_with(main, evaluate) == 2
    assert f"error: -o {figures}: cannot be written: File too large" in capsys.readouterr().err
    assert figures.read_text() == "before" and not list(tmp_path.glob(".*"))
    assert left_with(main, evaluate) == 0 and json.loads(figures.read_text())["figures"]


def test_preparing_on_a_full_disk(tmp_path, image, monkeypatch, capsys):
    # As before Python 3.14: a server of workers may have been started before the limit, and have none.
    monkeypatch.setattr(multiprocessing, "Pool", multiprocessing.get_context("fork").Pool)
    labels, out = tmp_path / "labels", tmp_path / "rarity.json"
    labels.mkdir()
    for name in "abcdefgh":
        cv2.imwrite(str(labels / f"{name}.png"), np.zeros((24, 24), np.uint8))
        if name != "a":
            shutil.copy(image, image.with_name(f"{name}.png"))
    layouts = ["prepare", "layouts", "-i", str(image.parent), "--labels", str(labels), "-o", str(out)]
    layouts += ["--palette", "indices", "--num-classes", "3", "--workers", "1"]
    with files_of_at_most(1_000):
        assert left_with(main, layouts) == 1
    said = capsys.readouterr().err
    partial = tmp_path / "rarity.json.partial"
    assert f"error: {partial}: cannot be written or read: File too large" in said and "Traceback" not in said
    assert partial.stat().st_size <= 1_000 and not out.exists()
    assert left_with(main, layouts) == 0 and len(json.loads(out.read_text())["sources"]) == 8

    photographs = ["prepare", "sr4x", "-i", str(image.parent), "-o", str(tmp_path / "pairs"), "--size", "64"]
    with files_of_at_most(5_000):
        assert left_with(main, [*photographs, "--workers", "2"]) == 2
    said = capsys.readouterr().err
    assert f"error: -o {tmp_path / 'pairs'}: cannot be written: [Errno 27] File too large" in said
    assert not [name for name in files_of(tmp_path / "pairs") if name.endswith(".tmp")]
    assert left_with(main, [*photographs, "--workers", "1"]) == 0


@pytest.mark.parametrize("arguments", [["sample", "--help"], ["models"], ["options"]])
def test_a_closed_output_is_no_fault(arguments, tmp_path):
    """As ``tim models | head -1`` and ``tim models >&-`` leave it."""
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as nobody_reads, pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", nobody_reads)
        status, closed = left_with(main, arguments), None
        patch.setattr("sys.stdout", closed)
        assert left_with(main, arguments) == 0
    assert status in (0, 1)


def test_an_option_file_that_is_none_is_not_read(tmp_path, capsys):
    (tmp_path / "latin.yml").write_bytes(b"caf\xe9")
    for given, said in (("/dev/zero", "is no regular file"), (tmp_path / "latin.yml", "is not UTF-8 in line 1")):
        assert left_with(main, ["options", str(given)]) == 2
        assert capsys.readouterr().err.startswith(f"error: {given}: {said}")
