"""Preparation of folders: from any photographs to GT and LQ files of one size and BasicSR's meta-info file.

A second run keeps the pairs whose photographs have not changed; photographs that cannot be read are skipped and
reported. ``DIR/prepare.json`` holds the settings and, written before the first pair is made, what each
pair is made from; a pair whose photograph has changed is removed first. So an interrupted run loses no finished pair.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from tim_plugin.data.photographs import crop_centre, resize_short_side
from tim_plugin.data.prepare_record import read_record, write_record
from tim_plugin.data.workers import track
from tim_plugin.degradations.base import Degradation
from tim_plugin.degradations.tasks import get_task
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.folder_lock import locked
from tim_plugin.utils.images import images_of, read_image, write_png
from tim_plugin.utils.memory import in_memory
from tim_plugin.utils.names import fitting_name
from tim_plugin.utils.seeds import keyed_generator
from tim_plugin.utils.writing import write_atomically

CROPS = ("center", "whole")


@dataclass(frozen=True)
class Settings:
    """What all pairs of a folder have in common.

    Attributes:
        task: A row of the task table, such as ``sr16x``.
        size: The GT's short side in pixels, a multiple of what the task needs.
        crop: ``center``: the middle ``size`` x ``size``; ``whole``: all of the long side, but for the rest of a
            division by the task's multiple, so that training crops at random.
        options: Of the task's degradation, such as ``quality`` of a JPEG; a range is drawn from by the pair's name.
    """

    task: str
    size: int = 256
    crop: str = "center"
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def degradation(self) -> Degradation:
        """The degradation that the task and its options give.

        Raises:
            TimError: The task is not known or an option is wrong.
        """
        return get_task(self.task).build(self.options, f"task {self.task}")

    def check(self) -> None:
        """Raise TimError for the first setting that is wrong."""
        multiple = get_task(self.task).gt_multiple
        _ = self.degradation
        if self.size < multiple or self.size % multiple:
            lower = self.size // multiple * multiple
            near = f"{lower} or {lower + multiple}" if lower > 0 else str(multiple)
            raise TimError(f"--size {self.size}: task {self.task} needs a multiple of {multiple}: use {near}")
        if self.crop not in CROPS:
            raise TimError(f"--crop {self.crop}: is not known: {' or '.join(CROPS)}")


class _Pair(NamedTuple):
    """A photograph, what it looked like (bytes, time of change), and where its GT and LQ go."""

    photo: Path
    fingerprint: list[int]
    gt: Path
    lq: Path

    def is_done(self) -> bool:
        """Both files are there."""
        return self.gt.is_file() and self.lq.is_file()

    def remove(self) -> None:
        """Remove the files."""
        self.gt.unlink(missing_ok=True)
        self.lq.unlink(missing_ok=True)


class _Outcome(NamedTuple):
    """What became of a photograph: ``problem`` tells why it was skipped; ``enlarged``: it was smaller than the GT."""

    problem: str | None = None
    enlarged: bool = False


class Prepared(NamedTuple):
    """Counts of what one run of :func:`prepare_folder` did.

    Attributes:
        made: Pairs.
        kept: Pairs that were there already.
        skipped: Why a photograph was skipped, with its name.
        enlarged: Photographs that were smaller than the GT.
        left_over: Names of GT files whose photograph is gone; they are not in the meta-info file.
    """

    made: int
    kept: int
    skipped: list[str]
    enlarged: int
    left_over: list[str]


def prepare_folder(photos: Path, output: Path, settings: Settings, workers: int | None = None) -> Prepared:
    """Write ``output/gt/NAME.png``, ``output/lq/NAME.png`` (or ``.jpg``) and ``output/meta_info.txt``, with a bar.

    A photograph's short side is resized to ``size`` by antialiased bicubic, then it is cropped; the LQ is made by the
    task's degradation of the GT as it is saved.

    Args:
        photos: Folder of photographs, with subfolders; ``A/x.jpg`` becomes ``A_x.png``.
        output: Made if it does not exist; prepared before with other settings, it is refused.
        settings: The same for all pairs.
        workers: Processes; None takes one for each core.

    Raises:
        TimError: A folder or a setting is wrong, no photograph could be read, the output cannot be written, or another
            process writes there.
    """
    settings.check()
    _check_folders(photos, output, workers)
    with locked(output, f"-o {output}"):
        return _prepare(photos, output, settings, workers)


def _prepare(photos: Path, output: Path, settings: Settings, workers: int | None) -> Prepared:
    before = read_record(output, asdict(settings))
    pairs = _find_pairs(photos, output, settings.degradation.suffix)
    try:
        _forget_changed(output, settings, pairs, before)
        todo = [pair for pair in pairs.values() if not pair.is_done()]
        processes = max(1, min(workers or os.cpu_count() or 1, len(todo)))
        outcomes = track(partial(_make_pair, settings), todo, processes)
        done = [pair.gt for pair in pairs.values() if pair.is_done()]
        left_over = sorted(path.name for path in (output / "gt").glob("*.png") if path.stem not in pairs)
        if done:
            _write_meta_info(output, done)
    except OSError as error:
        raise TimError(f"-o {output}: cannot be written: {error}") from error
    skipped = [outcome.problem for outcome in outcomes if outcome.problem is not None]
    if not done:
        raise TimError(f"-i {photos}: none of the {len(pairs)} photographs could be read; the first: {skipped[0]}")
    enlarged = sum(outcome.enlarged for outcome in outcomes)
    return Prepared(len(todo) - len(skipped), len(pairs) - len(todo), skipped, enlarged, left_over)


def _check_folders(photos: Path, output: Path, workers: int | None) -> None:
    if not photos.is_dir():
        raise TimError(f"-i {photos}: there is no such folder; give the folder that holds the photographs")
    source, target = (Path(os.path.realpath(path)) for path in (photos, output))
    if target.is_relative_to(source):
        raise TimError(
            f"-o {output}: lies in the folder of photographs ({photos}) and would be read as photographs in "
            "the next run; give a folder outside it"
        )
    if source.is_relative_to(target / "gt") or source.is_relative_to(target / "lq"):
        raise TimError(f"-o {output}: the photographs ({photos}) lie where the results go; give another folder")
    if output.exists() and not output.is_dir():
        raise TimError(f"-o {output}: is a file; give a folder")
    if workers is not None and workers < 1:
        raise TimError(f"--workers {workers}: must be 1 or more")


def _find_pairs(photos: Path, output: Path, lq_suffix: str) -> dict[str, _Pair]:
    """All photographs below the folder, sorted, by the name of their pair."""
    pairs: dict[str, _Pair] = {}
    taken: set[str] = set()  # in lower case: some file systems do not tell X.png from x.png
    for path in images_of(photos, (path for path in photos.rglob("*") if not path.is_dir())):
        base = name = _pair_name(path.relative_to(photos))
        count = 1
        while name.lower() in taken:
            count += 1
            name = f"{base}_{count}"
        taken.add(name.lower())
        status = path.stat()
        fingerprint = [status.st_size, status.st_mtime_ns]
        pairs[name] = _Pair(path, fingerprint, output / "gt" / f"{name}.png", output / "lq" / f"{name}{lq_suffix}")
    return pairs


def _pair_name(relative: Path) -> str:
    """Return what a pair is called: text, without spaces, and not too long for a file's name."""
    joined = "_".join("_".join([*relative.parent.parts, relative.stem]).split())
    # BasicSR takes a line of the meta-info file, which is text, up to its first space as the name.
    return fitting_name(re.sub("[\udc80-\udcff]", "_", joined))


def _forget_changed(output: Path, settings: Settings, pairs: Mapping[str, _Pair], before: Mapping[str, Any]) -> None:
    """Remove pairs that were made from another photograph or another state of it; then record what will be made."""
    sources = {name: [str(pair.photo), *pair.fingerprint] for name, pair in pairs.items()}
    for name, pair in pairs.items():
        if before.get(name, [None])[1:] != pair.fingerprint:  # a folder of photographs may have been moved as a whole
            pair.remove()
    write_record(output, asdict(settings), {**before, **sources})


def _make_pair(settings: Settings, pair: _Pair) -> _Outcome:
    try:
        outcome = in_memory(partial(_read_and_write, settings, pair))
    except TimError as error:
        return _Outcome(problem=str(error))
    return outcome or _Outcome(problem=f"{pair.photo}: does not fit into memory: use fewer --workers, or shrink it")


def _read_and_write(settings: Settings, pair: _Pair) -> _Outcome:
    photo = read_image(pair.photo).rgb
    gt = _crop(resize_short_side(photo, settings.size, str(pair.photo)), settings)
    lq = settings.degradation.encode(gt, keyed_generator("prepare", pair.gt.stem))
    write_png(pair.gt, gt)
    pair.lq.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(pair.lq, lq)
    return _Outcome(enlarged=min(photo.shape[-2:]) < settings.size)


def _crop(photo: Tensor, settings: Settings) -> Tensor:
    if settings.crop == "center":
        return crop_centre(photo, settings.size, settings.size)
    multiple = get_task(settings.task).gt_multiple
    return crop_centre(photo, *(side // multiple * multiple for side in photo.shape[-2:]))


def _write_meta_info(output: Path, gt_paths: Sequence[Path]) -> None:
    """``NAME.png (height,width,3)`` for each pair, as BasicSR's PairedImageDataset reads it."""
    lines = [f"{path.name} ({height},{width},3)\n" for path in gt_paths for width, height in [_png_size(path)]]
    write_atomically(output / "meta_info.txt", "".join(lines).encode())


def _png_size(path: Path) -> tuple[int, int]:
    """Width and height from a PNG's header."""
    with path.open("rb") as file:
        header = file.read(24)
    return int.from_bytes(header[16:20], "big"), int.from_bytes(header[20:24], "big")
