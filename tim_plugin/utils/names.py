"""What the outputs of several files are named by: one name for each, and no two alike."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path


def distinct_names(files: Sequence[Path | str]) -> list[str]:
    """Return a name for each of several files: its stem where no other has the same.

    Else it is the file's name (``v.jpg``: ``v_jpg``); where that is not enough, its place below the folder that all
    share (``a/x.png``: ``a_x``, or ``a_x_png``); and at last the same with a number. Names that differ in case alone
    count as the same, as they do on many disks.

    Args:
        files: Their order does not matter, unless a number is needed.
    """
    paths = [Path(os.path.abspath(file)) for file in files]
    shared = os.path.commonpath([path.parent for path in paths]) if paths else ""
    places = [path.relative_to(shared) for path in paths]
    ways = [
        [path.stem for path in paths],
        [_joined(path.name) for path in paths],
        [_joined(place.with_suffix("")) for place in places],
        [_joined(place) for place in places],
        [f"{_joined(place)}_{number}" for number, place in enumerate(places)],
    ]
    chosen = [0] * len(paths)
    while True:
        names = [ways[way][index] for index, way in enumerate(chosen)]
        times = Counter(name.casefold() for name in names)
        clashing = [i for i, name in enumerate(names) if times[name.casefold()] > 1 and chosen[i] < len(ways) - 1]
        if not clashing:
            return names
        for index in clashing:
            chosen[index] += 1


def _joined(place: Path | str) -> str:
    return "_".join(Path(place).parts).replace(".", "_")
