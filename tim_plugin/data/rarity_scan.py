"""Rarity scores of a whole folder of images, computed in parallel; an interrupted run can be continued."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from tim_plugin.data.pairs import pair_files
from tim_plugin.data.rarity import BANDWIDTH, Rarity, digest_of, fingerprint_of, mean_colours, rarity_scores
from tim_plugin.data.workers import results, worker_pool
from tim_plugin.degradations.labels import Labels
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.image_decoding import decode_image
from tim_plugin.utils.images import list_images, read_bytes
from tim_plugin.utils.json_files import parse_checked, with_checksum
from tim_plugin.utils.memory import in_memory
from tim_plugin.utils.writing import appending, write_atomically

_Pair = tuple[Path, Path]
# Mean colours (C, 3), which classes are shown (C,), digest: plain lists, since a tensor would hold a file handle of its
# own on its way between processes.
_Found = tuple[list, list, str]
_SHAPE = {
    "palette": dict,
    "found": [[[float, float, float]], [bool], str],
    "mark": [str, int, str, int, float, float],
}


def compute_rarity(
    images: Path,
    maps: Path,
    labels: Labels,
    bandwidth: float = BANDWIDTH,
    workers: int = 1,
    progress: Path | None = None,
    leave_out: Callable[[str], None] | None = None,
) -> Rarity:
    """Compute the rarity scores of all images of a folder, in parallel, with a progress bar.

    Args:
        images: Folder of photographs.
        maps: Folder of label maps of the same names (:func:`tim_plugin.data.pairs.pair_files`).
        labels: Reads them.
        bandwidth: Standard deviation of the kernel over mean colours in [0, 1].
        workers: Processes.
        progress: File that keeps what is done until all is: a later run of the same palette takes from it the images
            that have not changed. None keeps nothing.
        leave_out: Told what is wrong with a pair that cannot be measured, whose scores are 0: it is never drawn. None
            leaves none out.

    Raises:
        TimError: A file is missing, or ``progress`` is damaged; or a file is damaged or a label map has another size
            than its photograph, and ``leave_out`` is None or no pair is left; or no class is
            shown.
    """
    if workers < 1:
        raise TimError(f"--workers {workers}: must be 1 or more")
    if not (bandwidth > 0 and math.isfinite(bandwidth)):
        raise TimError(f"--bandwidth {bandwidth}: must be more than 0, and finite")
    started, files = time.time(), list_images(images)
    pairs = list(zip(files, pair_files(files, maps), strict=True))
    marks = [fingerprint_of(*pair) for pair in pairs]
    found = {} if progress is None else _read_progress(progress, labels)
    todo = [(pair, mark) for pair, mark in zip(pairs, marks, strict=True) if tuple(mark) not in found]
    problems: list[str] = []
    found |= _scan(labels, todo, len(pairs), workers, progress, problems if leave_out else None)
    if problems and len(problems) == len(pairs):
        raise TimError(f"{problems[0]}; none of the {len(pairs)} pairs of {images} can be measured")
    for problem in problems:
        leave_out(problem)
    ordered = [found[tuple(mark)] for mark in marks]
    means = torch.tensor([one[0] for one in ordered], dtype=torch.float64)  # (M, C, 3)
    present = torch.tensor([one[1] for one in ordered])  # (M, C)
    if not present.any():
        raise TimError(f"{maps}: no label map shows a class")
    sources = [[*mark[:4], one[2]] for mark, one in zip(marks, ordered, strict=True)]
    return Rarity(rarity_scores(means, present, bandwidth), sources, labels.describe(), started)


def _scan(
    labels: Labels,
    todo: Sequence[tuple[_Pair, list[Any]]],
    total: int,
    workers: int,
    progress: Path | None,
    problems: list[str] | None,
) -> dict[tuple[Any, ...], _Found]:
    """Measure the pairs that are left, of ``total``; each result is appended to ``progress`` as soon as it is there.

    ``problems`` gets what is wrong with a pair, which shows no class then; where it is None the first one is raised.
    """
    found: dict[tuple[Any, ...], _Found] = {}
    with ExitStack() as stack:
        log = None
        if progress is not None and todo:
            progress.parent.mkdir(parents=True, exist_ok=True)
            log = stack.enter_context(appending(progress))
        measured = _measured(partial(_measure, labels), [pair for pair, _ in todo], workers, stack)
        bar = tqdm(measured, total=total, initial=total - len(todo), unit="image")
        for (_, mark), one in zip(todo, bar, strict=True):
            if isinstance(one, str):
                if problems is None:
                    raise TimError(one)
                problems.append(one)
                one = [[0.0] * 3] * labels.channels, [False] * labels.channels, ""
            found[tuple(mark)] = one
            if one[2] and log is not None:
                line = with_checksum({"mark": mark, "palette": labels.describe(), "found": one})
                log.write(json.dumps(line).encode() + b"\n")
                log.flush()
    return found


def _measured(
    measure: partial[_Found | str], pairs: Sequence[_Pair], workers: int, stack: ExitStack
) -> Iterable[_Found | str]:
    if min(workers, len(pairs)) <= 1:
        return map(measure, pairs)
    return results(stack.enter_context(worker_pool(min(workers, len(pairs)))), measure, pairs)


def _measure(labels: Labels, pair: _Pair) -> _Found | str:
    """Return what is found of a pair, or what is wrong with it."""
    found = in_memory(partial(_measure_in_memory, labels, pair))
    return f"{pair[0]}: does not fit into memory: use fewer --workers, or shrink it" if found is None else found


def _measure_in_memory(labels: Labels, pair: _Pair) -> _Found | str:
    try:
        contents = [read_bytes(path) for path in pair]
        image, one_hot = decode_image(contents[0], str(pair[0])).rgb, labels.read(contents[1], str(pair[1])).lq
    except TimError as error:
        return str(error)
    if image.shape[-2:] != one_hot.shape[-2:]:
        sizes = [f"{part.shape[-1]}x{part.shape[-2]}" for part in (image, one_hot)]
        return f"{pair[0]}: is {sizes[0]}, but its label map {pair[1]} is {sizes[1]}"
    colours = mean_colours(image, one_hot)
    return colours.means.tolist(), colours.present.tolist(), digest_of(*contents)


def _read_progress(path: Path, labels: Labels) -> dict[tuple[Any, ...], _Found]:
    """What an earlier run has measured; a line that it could not finish ends the file and is left out."""
    found: dict[tuple[Any, ...], _Found] = {}
    if not path.exists():
        return found
    content = read_bytes(path)
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        write_atomically(path, whole)
    for line in whole.split(b"\n")[:-1]:
        try:
            entry = parse_checked(line, _SHAPE)
            means, present, digest = entry["found"]
            of_this_palette = entry["palette"] == labels.describe()
            if of_this_palette and {len(means), len(present)} != {labels.channels}:
                raise ValueError(f"has {len(means)} colours, not {labels.channels}")
        except ValueError as error:
            raise TimError(f"{path}: is damaged ({error}); delete it to begin anew") from error
        if of_this_palette:
            found[tuple(entry["mark"])] = (means, present, digest)
    return found
