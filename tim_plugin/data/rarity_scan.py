"""The colours of a whole folder of images, class by class: in parallel, and a run that was cut off goes on."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from functools import partial
from multiprocessing import Pool
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from tim_plugin.data.pairs import pair_files
from tim_plugin.data.prepare import start_worker
from tim_plugin.data.rarity import BANDWIDTH, MeanColours, Rarity, mean_colours, rarity_scores, source_of
from tim_plugin.degradations.labels import Labels
from tim_plugin.errors import TimError
from tim_plugin.images import list_images, read_bytes, read_image, write_atomically

Pair = tuple[Path, Path]


def compute_rarity(
    images: Path,
    maps: Path,
    labels: Labels,
    bandwidth: float = BANDWIDTH,
    workers: int = 1,
    progress: Path | None = None,
) -> Rarity:
    """Compute the scores of all images of a folder, in parallel, with a progress bar.

    Args:
        images: Folder of photographs.
        maps: Folder of label maps of the same names, see :func:`tim_plugin.data.pairs.pair_files`.
        labels: Reads them.
        bandwidth: See :func:`tim_plugin.data.rarity.rarity_scores`.
        workers: Processes.
        progress: File that keeps what is done until all is: a later run of the same palette takes from it the images
            that have not changed. None keeps nothing.

    Raises:
        TimError: A file is missing or damaged, a label map has another size than its photograph, or ``progress`` is
            damaged.
    """
    if workers < 1:
        raise TimError(f"--workers {workers}: must be 1 or more")
    files = list_images(images)
    pairs = list(zip(files, pair_files(files, maps), strict=True))
    sources = [source_of(*pair) for pair in pairs]
    found = {} if progress is None else _read_progress(progress, labels)
    todo = [(pair, source) for pair, source in zip(pairs, sources, strict=True) if _key(source) not in found]
    with ExitStack() as stack:
        log = None
        if progress is not None and todo:
            progress.parent.mkdir(parents=True, exist_ok=True)
            log = stack.enter_context(progress.open("a", encoding="utf-8"))
        results = _measured(partial(_colours_of, labels), [pair for pair, _ in todo], workers, stack)
        bar = tqdm(results, total=len(pairs), initial=len(pairs) - len(todo), unit="image")
        for (_, source), one in zip(todo, bar, strict=True):
            if isinstance(one, str):
                raise TimError(one)
            found[_key(source)] = one
            if log is not None:
                log.write(_line(source, one, labels))
                log.flush()
    ordered = [found[_key(source)] for source in sources]
    means, present = (torch.stack(parts) for parts in zip(*ordered, strict=True))
    return Rarity(rarity_scores(means, present, bandwidth), sources, labels.describe())


def _measured(
    measure: partial[MeanColours | str], pairs: Sequence[Pair], workers: int, stack: ExitStack
) -> Iterable[MeanColours | str]:
    if min(workers, len(pairs)) <= 1:
        return map(measure, pairs)
    pool = stack.enter_context(Pool(min(workers, len(pairs)), initializer=start_worker))
    return map(_unpacked, pool.imap(partial(_packed, measure), pairs))


def _packed(measure: partial[MeanColours | str], pair: Pair) -> tuple[list, list] | str:
    """Plain lists: a tensor would hold a file handle on its way between processes."""
    one = measure(pair)
    return one if isinstance(one, str) else (one.means.tolist(), one.present.tolist())


def _unpacked(one: tuple[list, list] | str) -> MeanColours | str:
    return one if isinstance(one, str) else _from_lists(*one)


def _from_lists(means: list, present: list) -> MeanColours:
    return MeanColours(torch.tensor(means, dtype=torch.float64), torch.tensor(present, dtype=torch.bool))


def _colours_of(labels: Labels, pair: Pair) -> MeanColours | str:
    """Return a pair's mean colours, or what is wrong with it."""
    try:
        image, one_hot = read_image(pair[0]).rgb, labels.read(read_bytes(pair[1]), str(pair[1])).lq
    except TimError as error:
        return str(error)
    if image.shape[-2:] != one_hot.shape[-2:]:
        sizes = [f"{part.shape[-1]}x{part.shape[-2]}" for part in (image, one_hot)]
        return f"{pair[0]}: is {sizes[0]}, but its label map {pair[1]} is {sizes[1]}"
    return mean_colours(image, one_hot)


def _key(source: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(source)


def _line(source: Sequence[Any], one: MeanColours, labels: Labels) -> str:
    content = {"source": source, "palette": labels.describe(), "means": one.means.tolist()}
    return json.dumps({**content, "present": one.present.tolist()}) + "\n"


def _read_progress(path: Path, labels: Labels) -> dict[tuple[Any, ...], MeanColours]:
    """What an earlier run has measured; a line that it could not finish ends the file and is left out."""
    found: dict[tuple[Any, ...], MeanColours] = {}
    if not path.exists():
        return found
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        write_atomically(path, whole.encode())
    for line in whole.splitlines():
        try:
            content = json.loads(line)
            if content["palette"] == labels.describe():
                found[_key(content["source"])] = _from_lists(content["means"], content["present"])
        except (ValueError, KeyError, TypeError) as error:
            raise TimError(f"{path}: is damaged; delete it to begin anew") from error
    return found
