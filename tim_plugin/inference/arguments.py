"""What ``tools/sample.py`` is given: checks of options and folders, and the names of what is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tim_plugin.utils.errors import TimError


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


def check_arguments(num_samples: int, seed: int, suffix: str, max_megapixels: float) -> None:
    """Raise TimError for the first of these options of ``tools/sample.py`` that is wrong."""
    for name, value, minimum in (("-n", num_samples, 1), ("--seed", seed, 0)):
        if value < minimum:
            raise TimError(f"{name} {value}: must be at least {minimum}")
    if {"/", "\\"} & set(suffix):
        raise TimError(f"--suffix {suffix}: must not hold / or \\; -o names the folder")
    if not max_megapixels > 0:  # nor NaN
        raise TimError(f"--max-megapixels {max_megapixels}: must be above 0")


def check_output(source: Path, output: Path) -> None:
    """Raise TimError where the samples would lie among the inputs; folders in the inputs' folder are not read."""
    if source.is_dir() and output.is_dir() and output.samefile(source):
        raise TimError(
            f"-o {output}: is the folder of inputs, and samples written there would be read as inputs in the next run: "
            f"give another folder, such as {output / 'samples'}"
        )


def output_names(files: Sequence[Path], suffix: str) -> list[str]:
    """Return the stems of the outputs; two inputs that differ in their suffix only keep it.

    Args:
        files: The inputs.
        suffix: Put behind each name.

    Raises:
        TimError: Two inputs would have the same name even so.
    """
    stems = Counter(path.stem for path in files)
    names = [path.stem if stems[path.stem] == 1 else path.name.replace(".", "_") for path in files]
    first: dict[str, Path] = {}
    for name, path in zip(names, files, strict=True):
        if first.setdefault(name, path) != path:
            raise TimError(
                f"-i {path.parent}: {first[name].name} and {path.name} would both be written as {name}_s00.png: "
                "rename one of them"
            )
    return [f"{name}_{suffix}" if suffix else name for name in names]
