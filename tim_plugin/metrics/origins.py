"""Whether the samples of a folder, where its ``samples.json`` says how they were made, were all made the same way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tim_plugin.inference.record import RECORD, origins
from tim_plugin.utils.errors import TimError

NO_MATTER = ("num_samples",)  # sample j is the same in a run of more
CALLED = {"model_sha256": "tower", "input_sha256": "input"}
ADVICE = "sample into an empty folder, or remove what is of another run"


def require_one_origin(pred: Path, samples: Mapping[str, Sequence[Path]]) -> None:
    """Compare what the records beside samples say of them; other methods' samples have none.

    Args:
        pred: The folder, as the user named it.
        samples: The files of each input's samples.

    Raises:
        TimError: Samples of one input were made with different seeds, towers or options; or a run that was overwriting
            some did not end; or inputs were sampled by different towers.
    """
    known = {
        folder: origins(folder / RECORD) for folder in {file.parent for files in samples.values() for file in files}
    }
    first: tuple[Path, Mapping[str, Any]] | None = None
    for files in samples.values():
        made = [(file, known[file.parent].get(file.name)) for file in files]
        _require_equal(pred, made)
        if made[0][1] is not None:
            first = first or made[0]
            _require_same(pred, first, made[0], ["model_sha256"])


def _require_equal(pred: Path, made: Sequence[tuple[Path, Mapping[str, Any] | None]]) -> None:
    """Raise TimError where samples of one input differ in what they were made with."""
    known, unknown = [one for one in made if one[1] is not None], [file for file, what in made if what is None]
    if known and unknown:
        raise TimError(
            f"--pred {pred}: {RECORD} records {known[0][0].name}, but not {unknown[0].name}, which may be of another "
            f"run: {ADVICE}"
        )
    for file, what in known:
        if not what:
            raise TimError(f"--pred {pred}: the run that was to overwrite {file.name} was ended: give it again")
        _require_same(pred, known[0], (file, what), [*dict.fromkeys([*known[0][1], *what])])


def _require_same(
    pred: Path, first: tuple[Path, Mapping[str, Any]], other: tuple[Path, Mapping[str, Any]], keys: Sequence[str]
) -> None:
    for key in keys:
        values = [made.get(key) for _, made in (first, other)]
        if values[0] != values[1] and key not in NO_MATTER:
            said = "" if key in CALLED else f" ({values[0]} and {values[1]})"
            raise TimError(
                f"--pred {pred}: {RECORD} says that {first[0].name} and {other[0].name} were made with different "
                f"{CALLED.get(key, key)}s{said}: {ADVICE}"
            )
