"""Commands that are killed before their n-th file operation, and then given again: nothing is torn, nothing differs."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from faults.runner import Case, Silent
from faults.small_files import small_files
from support.command_lines import Done, run_program
from tim_plugin.inference.video import Video
from tim_plugin.utils.checkpoints import load_intact
from tim_plugin.utils.images import read_image
from tim_plugin.utils.json_files import parse_json

CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate"}
CHANGES |= {"shutil.move", "shutil.rmtree", "shutil.copyfile"}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
LOGS = (".log", ".yml", ".csv")  # they hold times and paths
OURS_WITH_TIMES = ("rarity.json",)  # hold when they were made


class Command(NamedTuple):
    """A command: its words, and what is added to go on after it was cut off."""

    name: str
    words: list[str]
    to_go_on: tuple[str, ...] = ()


def cases(root: Path, count: int, seed: int) -> Iterator[Case]:
    """Yield kills: the commands in turn, each before an operation that had none yet, until there is none left."""
    root = root.resolve()
    commands = _commands(root)
    whole: dict[str, dict[str, Any]] = {}
    operations: dict[str, int] = {}
    left: dict[str, list[int]] = {}
    for number in range(count):
        command = commands[number % len(commands)]
        if command.name not in whole:
            folder = root / f"{command.name} whole"
            operations[command.name] = _started(command, folder, None).operations
            whole[command.name] = contents(folder)
            left[command.name] = []
        if not left[command.name]:
            left[command.name] = list(range(1, operations[command.name] + 1))
            random.Random(f"{seed}-{number}").shuffle(left[command.name])
        at = left[command.name].pop()
        label = f"{number} ({command.name}): killed before file operation {at} of {operations[command.name]}"
        yield Case(label, partial(_run, command, root / str(number), at, whole[command.name]))


def _run(command: Command, folder: Path, at: int, whole: dict[str, Any]) -> str:
    try:
        if _started(command, folder, at).done.returncode != -signal.SIGKILL:
            raise Silent(f"it did not come to operation {at}")
        contents(folder)
        _started(command, folder, None, *command.to_go_on)
        found = contents(folder)
        differing = [name for name in sorted(whole) if found.get(name) != whole[name]]
        if differing:
            raise Silent(f"differs from a run that was not killed: {', '.join(differing)}")
        left_over = sorted(set(found) - set(whole))
        if left_over:
            raise Silent(f"was left over: {', '.join(left_over)}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return "accepted"


# the commands ---------------------------------------------------------------------------------------------------------


def _commands(root: Path) -> list[Command]:
    given = small_files(root / "given")
    sample = ["sample", "-m", given / "net.pth", "-n", 2, "--seed", 3, "-o", "out"]
    prepare = ["prepare"]
    few = ["--workers", 1]
    sets = [
        "--metrics",
        "fid,psnr",
        "--feature-extractor",
        given / "squeezenet.pth",
        "--cache",
        "cache",
        "-o",
        "figures.json",
    ]
    return [
        _command("sample", [*sample, "-i", given / "frames"], "--skip-existing"),
        _command("sample a video", [*sample, "-i", given / "v.mp4"], "--skip-existing"),
        _command("prepare", [*prepare, "sr4x", "-i", given / "photos", "-o", "out", "--size", 16, *few]),
        _command("train", ["train", "-opt", given / "train.yml"], "--auto_resume"),
        _command(
            "prepare layouts",
            [*prepare, "layouts", "-i", given / "photos", "--labels", given / "maps", "-o", "rarity.json"]
            + ["--palette", "indices", "--num-classes", 12, *few],
        ),
        _command(
            "prepare digits",
            [*prepare, "mnist_pca", "-i", given / "digits.idx3", "-o", "out", "--num-components", 3, *few],
        ),
        _command("train on", ["train", "-opt", given / "train.yml", "--auto_resume"]),
        _command(
            "evaluate", ["evaluate", "--pred", given / "samples", "--gt", given / "photos", *sets, "-o", "f.json"]
        ),
    ]


def _command(name: str, words: list[Any], *to_go_on: str) -> Command:
    return Command(name, [str(word) for word in words], to_go_on)


# running and comparing ------------------------------------------------------------------------------------------------


class _Started(NamedTuple):
    done: Done
    operations: int


def _started(command: Command, folder: Path, at: int | None, *more: str) -> _Started:
    """Run a command in its folder; without ``at`` it has to end well."""
    folder.mkdir(exist_ok=True)
    counter = folder.with_name(f"{folder.name} count")
    first = partial(count_operations, folder, counter, at)
    done = run_program("-m", "tim_plugin", *command.words, *more, cwd=folder, first=first)
    if at is None and done.returncode:
        raise Silent(f"status {done.returncode}: {done.stderr[-1500:]}")
    return _Started(done, int(counter.read_text()))


def count_operations(folder: Path, counter: Path, at: int | None) -> None:
    """Count in a file what this process does to files of a folder, and kill it before operation ``at``."""
    descriptor, main, done = os.open(counter, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), os.getpid(), [0]
    inside = os.fsencode(folder)

    def hook(event: str, arguments: tuple) -> None:
        if event != "open" and event not in CHANGES:
            return
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & WRITES):
            return
        if os.getpid() != main or not any(_is_inside(argument, inside) for argument in arguments[:2]):
            return
        done[0] += 1
        if done[0] == at:
            os.kill(main, signal.SIGKILL)
        os.pwrite(descriptor, str(done[0]).encode(), 0)

    os.pwrite(descriptor, b"0", 0)
    sys.addaudithook(hook)


def _is_inside(path: Any, folder: bytes) -> bool:
    if not isinstance(path, (str, bytes, os.PathLike)):
        return False
    return os.path.join(os.getcwdb(), os.fsencode(path)).startswith(folder + b"/")


def contents(folder: Path) -> dict[str, Any]:
    """Return what each file of a folder holds, by its name, in a form that two runs have alike.

    Raises:
        Silent: A file that is no temporary one cannot be read.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))  # of a training that begins anew, the one before is kept
        if path.is_file() and path.suffix not in LOGS and "_archived_" not in name:
            found[name] = None if path.name.startswith(".") else _content(path)
    return found


def _content(path: Path) -> Any:
    read: dict[str, Callable[[Path], Any]] = {".png": lambda path: read_image(path).rgb, ".npz": np.load}
    read |= dict.fromkeys((".pth", ".state"), load_intact) | {".json": lambda path: parse_json(path.read_bytes(), dict)}
    read |= {".mp4": lambda path: Video(path).read_next()}
    try:
        whole = read[path.suffix](path) if path.suffix in read else None
    except Exception as error:
        raise Silent(f"{path.name} is torn: {error}") from error
    if path.suffix in (".pth", ".state"):  # the archive holds the name of the temporary file
        return _plain(whole)
    if path.name in OURS_WITH_TIMES:
        return {key: value for key, value in whole.items() if key not in ("computed_at", "checksum")}
    return path.read_bytes()


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return (str(value.dtype), value.numpy().tobytes()) if isinstance(value, torch.Tensor) else value
