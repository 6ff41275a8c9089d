"""Commands in odd surroundings: names, links, pipes, folders in the place of files, full disks, closed streams.

Each works, or ends with status 1 or 2 and one line that says ``error:``; what it was given is as it was.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import random
import resource
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from faults.runner import Case, Silent, Unclear
from faults.small_files import small_files
from support.command_lines import Done, run_program
from tim_plugin.utils.images import write_png

NAMES = [b"caf\xe9.png", b"\xff\xfe.png", b"-n.png", b"a b.png", b"a\nb.png", b"$(x)'\".png", b"%d{}.png", b"[*].png"]
NAMES += [b"~.png", b"a.png.png", b"a\x07b\x1b[1m.png", "x\u202ey é 字.png".encode(), b"x" * 251 + b".png"]
NAMES += ["é".encode() * 120 + b".png", b"s00_s00.png", b"overview.png", b"-.png", b" .png"]
SIZES = [(1, 1), (1, 5000), (5000, 1), (2, 2), (2, 5000), (3, 7)]
WITHOUT_RIGHTS = 0b110  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH: root, too, is refused what a mode forbids


class Odd(NamedTuple):
    """A command in a folder of its own.

    Attributes:
        name: What is odd.
        words: Of the command; ``{given}`` stands for the folder of small files.
        make: Prepares the command's folder.
        first: Prepares its process.
        environment: Of the process.
        works: Whether it has to work.
        times: How often it runs at once.
    """

    name: str
    words: list[str]
    make: Callable[[Path], Any] = lambda folder: None
    first: Callable[[], None] | None = None
    environment: dict[str, str] = {}
    works: bool = False
    times: int = 1


SAMPLE = ["sample", "-m", "{given}/net.pth", "-n", "1"]
FRAMES = ["-i", "{given}/frames"]
PREPARE = ["prepare", "sr4x", "--size", "16", "--workers", "1"]
LAYOUTS = ["prepare", "layouts", "-i", "{given}/photos", "--labels", "{given}/maps", "--palette", "indices"]
LAYOUTS += ["--num-classes", "12", "--workers", "1"]
EVALUATE = ["evaluate", "--pred", "{given}/samples", "--gt", "{given}/photos", "--metrics", "psnr"]
CACHED = [*EVALUATE[:-1], "fid", "--feature-extractor", "{given}/squeezenet.pth", "--cache", "cache"]
TRAIN = ["train", "-opt", "{given}/train.yml"]


def cases(root: Path, count: int, seed: int) -> Iterator[Case]:
    """Yield odd cases in a random order; there are no more than there are."""
    root = root.resolve()
    given = small_files(root / "given")
    found = [*_names(), *_sizes(), *_things(), *_values(), *_surroundings()]
    random.Random(seed).shuffle(found)
    for number, odd in enumerate(itertools.islice(found, count)):
        yield Case(f"{number} {odd.words[0]}: {odd.name}", partial(_run, odd, given, root / str(number)))


def _run(odd: Odd, given: Path, folder: Path) -> str:
    before = _state(given)
    folder.mkdir()
    odd.make(folder)
    words = [word.replace("{given}", str(given)) for word in odd.words]
    start = partial(run_program, "-m", "tim_plugin", *words, cwd=folder, first=odd.first, **odd.environment)
    if odd.times == 1:
        done = [start()]  # in this thread, which the alarm ends
    else:
        with ThreadPoolExecutor(odd.times) as pool:
            done = [future.result() for future in [pool.submit(start) for _ in range(odd.times)]]
    if _state(given) != before:
        raise Silent("what it was given is not what it was")
    outcomes = [_outcome(one) for one in done]
    if odd.works and "refused" in outcomes:
        raise Unclear(f"should work: {done[0].stderr}")
    return outcomes[0]


def _outcome(done: Done) -> str:
    printed = done.stdout + done.stderr
    if "Traceback" in printed or "Exception ignored" in printed or done.returncode not in (0, 1, 2):
        raise RuntimeError(f"status {done.returncode}: {printed[-3000:]}")
    told = [line for line in done.stderr.splitlines() if "error: " in line]
    if done.returncode and len(told) != 1:
        raise Unclear(f"status {done.returncode} with {len(told)} errors: {printed[-3000:]}")
    return "refused" if done.returncode else "accepted"


def _state(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*") if path.is_file()}


# names and sizes ------------------------------------------------------------------------------------------------------


def _image(folder: Path, name: bytes = b"a.png", size: tuple[int, int] = (16, 16)) -> Path:
    (folder / "in").mkdir(exist_ok=True)
    write_png(folder / "made.png", torch.rand(3, *size))
    os.rename(folder / "made.png", os.path.join(os.fsencode(folder / "in"), name))
    return folder / "in"


def _names() -> Iterator[Odd]:
    for name in NAMES:
        make = partial(_image, name=name)
        yield Odd(f"{name!r} in a folder", [*SAMPLE, "-i", "in"], make, works=True)
        yield Odd(f"{name!r} in a folder", [*PREPARE, "-i", "in", "-o", "out"], make, works=True)
    for name in NAMES[:5]:
        pair = ["evaluate", "--pred", "in", "--gt", "in", "--pattern", "{name}", "--metrics", "psnr"]
        yield Odd(f"{name!r} as a pair", pair, partial(_image, name=name), works=True)
        plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
        yield Odd(f"{name!r}, LC_ALL=C", [*SAMPLE, "-i", "in"], partial(_image, name=name), environment=plain)


def _sizes() -> Iterator[Odd]:
    for size in SIZES:
        make, name = partial(_image, size=size), f"{size[0]} x {size[1]}"
        yield Odd(name, [*SAMPLE, "-i", "in"], make, works=min(size) > 1)
        yield Odd(name, [*PREPARE, "-i", "in", "-o", "out"], make)
        yield Odd(name, ["evaluate", "--pred", "in", "--gt", "in", "--pattern", "{name}"], make)


# things in the place of files -----------------------------------------------------------------------------------------


def _things() -> Iterator[Odd]:
    """Each of several things, in each of several places."""
    places = {
        "x": [
            [*SAMPLE, "-i", "x"],
            [*SAMPLE, *FRAMES, "-m", "x"],
            [*SAMPLE, *FRAMES, "-o", "x"],
            ["train", "-opt", "x"],
        ],
        "out/samples.json": [[*SAMPLE, *FRAMES, "-o", "out", "--skip-existing"]],
        "out/prepare.json": [[*PREPARE, "-i", "{given}/photos", "-o", "out"]],
        "out/.tim.lock": [[*SAMPLE, *FRAMES, "-o", "out"]],
        "r.json.partial": [[*LAYOUTS, "-o", "r.json"]],
        "cache": [CACHED],
        "f.json": [[*EVALUATE, "-o", "f.json"]],
        "experiments": [TRAIN],
    }
    things = {
        "a folder": lambda path: path.mkdir(),
        "a named pipe": os.mkfifo,
        "a link to nowhere": lambda path: path.symlink_to("nowhere/at all"),
        "a link to itself": lambda path: path.symlink_to(path),
        "an empty file": lambda path: path.touch(),
        "no text": lambda path: path.write_bytes(b"\xff\0\n"),
    }

    def make(folder: Path, place: str, thing: str) -> None:
        (folder / place).parent.mkdir(exist_ok=True)
        things[thing](folder / place)

    for place, commands in places.items():
        for words, thing in itertools.product(commands, things):
            yield Odd(f"{place} is {thing}", words, partial(make, place=place, thing=thing))


def _values() -> Iterator[Odd]:
    """Odd words on command lines."""
    for value in ("", "x" * 300, "/dev/null", "/dev/zero", "{given}/net.pth/x", "\udce9", "~nobody/x", "a\nb", "."):
        for words in ([*SAMPLE, "-i"], [*SAMPLE, *FRAMES, "-m"], [*EVALUATE, "--gt"], ["train", "-opt"], ["options"]):
            yield Odd(f"{words[-1]} {value!r}", [*words, value])
    for value in ("", "x" * 300, "/dev/null", "/proc/x", "{given}/net.pth/x", "\udce9"):
        for words in ([*SAMPLE, *FRAMES, "-o"], [*PREPARE, "-i", "{given}/photos", "-o"], [*LAYOUTS, "-o"]):
            yield Odd(f"{words[-1]} {value!r}", [*words, value])
    for option, value in (
        *(("--suffix", value) for value in ("../x", "a\nb", "x" * 300, "\udce9")),
        *(("-n", value) for value in ("0", "-1", "1e3", "9" * 30)),
        *(("--seed", value) for value in ("-1", "9" * 30)),
        *(("--memory-gib", value) for value in ("nan", "inf", "-1", "1e-9")),
        *(("--tile", value) for value in ("-1", "1", "nan")),
        *(("--device", value) for value in ("", "cuda:99", "meta", "\udce9")),
        *(("--batch", value) for value in ("0", "9" * 30)),
        *(("--level-seeds", value) for value in ("", "x", "-,-,-,-,1", "9" * 30)),
    ):
        yield Odd(f"{option} {value!r}", [*SAMPLE, *FRAMES, option, value])
    for value in ("name=a\nb", "name=-x", "name='a\\0b'", "name=\udce9", "datasets:train:dataroot_gt=/dev/null"):
        yield Odd(f"--force_yml {value!r}", [*TRAIN, "--force_yml", value])


# surroundings ---------------------------------------------------------------------------------------------------------


def close(*descriptors: int) -> None:
    """Close streams of this process."""
    for descriptor in descriptors:
        os.close(descriptor)


def into_closed_pipe() -> None:
    """Let nobody read what this process prints."""
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # Python's own setting
    reader, writer = os.pipe()
    os.close(reader)
    os.dup2(writer, 1)


def small_files_only(size: int) -> None:
    """Let this process write no larger file."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # Python's own setting
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def read_only(folder: str) -> None:
    """Make a folder read-only, also for root."""
    os.chmod(folder, 0o555)
    libc, header = ctypes.CDLL(None, use_errno=True), (ctypes.c_uint32 * 2)(0x20080522, 0)
    sets = (ctypes.c_uint32 * 6)()
    if libc.capget(header, sets) == 0:
        sets[0] &= ~WITHOUT_RIGHTS
        libc.capset(header, sets)


def _surroundings() -> Iterator[Odd]:
    work = {
        "sample": [*SAMPLE, *FRAMES, "-o", "out"],
        "prepare": [*PREPARE, "-i", "{given}/photos", "-o", "out"],
        "layouts": [*LAYOUTS, "-o", "r.json"],
        "evaluate": [*CACHED, "-o", "f.json"],
        "train": TRAIN,
    }
    for words in work.values():
        yield Odd("standard input is closed", words, first=partial(close, 0), works=True)
        yield Odd("nobody reads what is printed", words, first=into_closed_pipe)
        yield Odd("no home", words, environment={"HOME": "", "XDG_CACHE_HOME": ""}, works=True)
        yield Odd("LC_ALL=C", words, environment={"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"})
        yield Odd("read-only folder", words, first=partial(read_only, "."))
        yield Odd("twice at once", words, times=2)
        for size in (24_000, 30_000):  # what is printed goes to a file, too
            yield Odd(f"no file above {size} bytes", words, first=partial(small_files_only, size))
    for words in (["models"], ["options"], ["options", "sr4x"], ["sample", "--list-models"], ["sample", "--help"]):
        yield Odd("nobody reads what is printed", words, first=into_closed_pipe)
        yield Odd("standard output is closed", words, first=partial(close, 1))
