"""How a user's files are sampled: the options of ``sample_files`` and of the command line, with their ranges.

Imports no torch, so that a command line can be parsed before anything heavy is loaded.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Real
from typing import Any

from tim_plugin.options.plain_checks import PRECISIONS, require_bool, shown
from tim_plugin.utils.errors import TimError, did_you_mean
from tim_plugin.utils.names import check_name
from tim_plugin.utils.plain_numbers import is_whole, plain_number, plain_numbers

GIB = 2**30
BACKENDS = ("auto", "torch", "onnxruntime", "openvino")

MOST_SAMPLES = 100_000  # of an image in one run; names and lists of more are of no use
# Arguments of Python that are called otherwise than the command line's.
PYTHON_NAMES = {"-n": "num_samples", "-i": "source", "-o": "output", "--batch": "max_samples_per_batch"}


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What sampling may use.

    Attributes:
        memory_gib: For the whole process; on CUDA, for what lies on the device.
        tile: ``auto`` computes in tiles what would not fit whole; a number is a tile's side in pixels; 0 never tiles.
        precision: ``fp32``, or ``bf16`` by autocast.
        backend: What computes the convolutions: ``torch``, or on a processor ``onnxruntime`` or ``openvino``; ``auto``
            takes the fastest that is installed and can. Their samples agree to 1e-4 before they are rounded.
        max_samples_per_batch: Samples computed at once, if the memory holds as many; None: as many as it holds, at
            most 16.

    Raises:
        TimError: A value is none of these.
    """

    memory_gib: float = 4.0
    tile: str | int = "auto"
    precision: str = "fp32"
    backend: str = "auto"
    max_samples_per_batch: int | None = None

    def __post_init__(self) -> None:
        for name in ("memory_gib", "tile", "max_samples_per_batch"):
            object.__setattr__(self, name, plain_number(getattr(self, name)))
        _require_number("--memory-gib", self.memory_gib)
        if not 0 < self.memory_gib * GIB < math.inf:  # nor NaN
            raise TimError(f"--memory-gib {self.memory_gib}: must be above 0 and finite")
        if self.tile != "auto":
            if not str(self.tile).isdecimal():
                raise TimError(f"--tile {self.tile}: must be auto, 0 (never) or a tile's side in pixels")
            object.__setattr__(self, "tile", int(self.tile))
        for name, value, known in (("--precision", self.precision, PRECISIONS), ("--backend", self.backend, BACKENDS)):
            if value not in known:
                raise TimError(f"{name} {value} is not known: {did_you_mean(str(value), known)}")
        if self.max_samples_per_batch is not None:
            _require_whole("--batch", self.max_samples_per_batch, 1)


@dataclass(frozen=True, kw_only=True)
class SampleOptions(Resources):
    """How a user's files are sampled; :class:`Resources` has the options of memory and speed, which change no sample.

    Attributes:
        num_samples: Samples of each image, 1 to :data:`MOST_SAMPLES`.
        seed: From 0. Sample j of an image depends on (seed, the file's name, j) alone; sample j of each frame of a
            video has the same latents.
        level_seeds: Coarse to fine, from which sample (0, 1, ...) all samples take a level's latents; None, or no entry
            for a level, leaves it free. With every level given there is one sample.
        temperature: What the latents are multiplied by, in all levels or in each (coarse to fine): 1 is what a tower is
            trained with, more gives more variety, 0 none.
        suffix: Put behind the image's name in the names of what is written; without ``/`` and ``\\``.
        device: ``cpu``, ``cuda``, ``cuda:1``; None takes CUDA where there is one.
        max_megapixels: Above 0; an input whose output is larger is refused before anything is computed.
        with_contact_sheet: Write a contact sheet of each image (of a video its first frame): input, samples and their
            deviation side by side. That of an image computed in tiles is made from samples of the sheet's size. Several
            images also get ``samples_overview.png``.
        frames: Write a video's samples as PNGs, frame by frame, in place of one video for each sample.
        skip_existing: Leave out files that ``samples.json`` says were sampled with the same model, content and
            options, if their PNGs exist.
        task: What a file of the method's authors is for, see :func:`tim_plugin.utils.checkpoints.load_network`.

    Raises:
        TimError: A value is of another type or out of its range; the message names the command line's option.
    """

    num_samples: int = 8
    seed: int = 0
    level_seeds: Sequence[int | None] | None = None
    temperature: float | Sequence[float] = 1.0
    suffix: str = ""
    device: str | None = None
    max_megapixels: float = 100.0
    with_contact_sheet: bool = True
    frames: bool = False
    skip_existing: bool = False
    task: str | None = None

    def __post_init__(self) -> None:
        for name in ("num_samples", "seed", "max_megapixels"):
            object.__setattr__(self, name, plain_number(getattr(self, name)))
        _require_whole("-n", self.num_samples, 1)
        _require_whole("--seed", self.seed, 0)
        if self.num_samples > MOST_SAMPLES:
            raise TimError(f"-n {self.num_samples}: at most {MOST_SAMPLES}; another --seed gives more")
        object.__setattr__(self, "level_seeds", numbers_of_samples("--level-seeds", self.level_seeds))
        if isinstance(self.suffix, str) and {"/", "\\"} & set(self.suffix):
            raise TimError(f"--suffix {self.suffix}: must not hold / or \\; -o names the folder")
        if self.suffix != "":
            check_name("--suffix", self.suffix)
        require_megapixels("--max-megapixels", self.max_megapixels)
        for name in ("with_contact_sheet", "frames", "skip_existing"):
            require_bool(name, getattr(self, name))
        super().__post_init__()


def parse_temperature(text: str) -> float | list[float]:
    """Read ``1.5``, or ``2,1,1,1`` with one for each level.

    Raises:
        TimError: Something else than numbers.
    """
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        raise TimError(f"--temperature {text}: write one number such as 1.5, or one for each level: 2,2,1,1") from None
    return values[0] if len(values) == 1 else values


def parse_level_seeds(text: str | None) -> list[int | None] | None:
    """Read ``0,0,3,7``; ``-`` leaves a level free.

    Raises:
        TimError: Something else than whole numbers from 0 and ``-``.
    """
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    for part in parts:
        if part != "-" and not part.isdecimal():
            raise TimError(
                f"--level-seeds {text}: {part!r} is neither a sample's number (0, 1, ...) nor '-'; "
                "write for example 3,3,-,- or 0,0,3,7"
            )
    return [None if part == "-" else int(part) for part in parts]


def numbers_of_samples(name: str, level_seeds: Any) -> list[int | None] | None:
    """Return from which sample each level's latents are taken, as plain numbers; None: nothing is said of it.

    Args:
        name: Of the argument, for the error.
        level_seeds: A list, or a one-dimensional array of whole numbers.

    Raises:
        TimError: It is something else than a list of whole numbers from 0 and of None.
    """
    if level_seeds is None:
        return None
    values = plain_numbers(level_seeds)
    if not isinstance(values, list) or not all(one is None or (is_whole(one) and one >= 0) for one in values):
        raise TimError(
            f"{name} {shown(values)}: give a list with a sample's number for each level, coarse to fine, a whole one "
            "that is at least 0, or None, which leaves the level free, such as [3, 3, None, None]"
        )
    return values


def require_megapixels(name: str, value: Any) -> None:
    """Raise TimError for what is no number above 0; infinity allows any size."""
    _require_number(name, value)
    if not value > 0:  # nor NaN
        raise TimError(f"{name} {value}: must be above 0")


def _require_number(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TimError(f"{name} {shown(value)}: must be a number")


def _require_whole(name: str, value: Any, minimum: int) -> None:
    if not is_whole(value):
        raise TimError(f"{name} {shown(value)}: must be a whole number")
    if value < minimum:
        raise TimError(f"{name} {value}: must be at least {minimum}")


@contextmanager
def arguments_named(names: Mapping[str, str] | None = None) -> Iterator[None]:
    """Errors of code that is shared with the command line name Python's arguments: ``memory_gib``, not --memory-gib.

    Args:
        names: Of options that are called otherwise in Python.
    """
    names = names or {}

    def named(found: re.Match[str]) -> str:
        return names.get(found[0], found[1].replace("-", "_") if found[1] else found[0])

    try:
        yield
    except TimError as error:
        text = re.sub(r"(?<![\w/.-])(?:--([a-z][a-z-]+)|-[a-z])(?![\w-])", named, str(error))
        raise type(error)(text) from error
