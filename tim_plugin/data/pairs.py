"""Pairing of LQ files with GT files by their names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from tim_plugin.utils.errors import TimError
from tim_plugin.utils.images import images_of

# What datasets of street scenes put behind the name that an image and its label map share.
_NAME_ENDINGS = ("_leftImg8bit", "_gtFine_color", "_gtFine_labelTrainIds", "_L")


def pair_files(gt_files: Sequence[Path], lq_folder: Path) -> list[Path]:
    """Return the LQ file of each GT file: the one of the same stem, or of the same stem without a known ending.

    What pairs by its whole stem is out of the question for the others.

    Raises:
        TimError: There is no such folder, or a GT has no LQ file, or two, or two have the same.
    """
    if not lq_folder.is_dir():
        raise TimError(f"{lq_folder}: there is no such folder; give the folder that holds the LQ files")
    files = images_of(lq_folder, lq_folder.iterdir(), say=False)
    same = _by_name(files, lambda stem: stem)
    for found in same.values():
        _the_one(found, found[0].stem)
    stems = {gt.stem for gt in gt_files}
    shared = _by_name([path for path in files if path.stem not in stems], _shared)
    pairs: dict[Path, Path] = {}  # LQ -> GT
    for gt in gt_files:
        name = _shared(gt.stem)
        lq = _the_one(same.get(gt.stem, []), gt.stem) or _the_one(shared.get(name, []), name)
        if lq is None:
            raise TimError(f"{gt}: has no LQ file of that name in {lq_folder}")
        if lq in pairs:
            raise TimError(f"{gt}: and {pairs[lq]} would both have the LQ file {lq}: give them different names")
        pairs[lq] = gt
    return list(pairs)


def _by_name(files: Iterable[Path], name_of: Callable[[str], str]) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in files:
        found.setdefault(name_of(path.stem), []).append(path)
    return found


def _the_one(files: Sequence[Path], name: str) -> Path | None:
    if len(files) > 1:
        raise TimError(f"{files[1]}: and {files[0].name} have one name ({name}): keep one of them")
    return files[0] if files else None


def _shared(stem: str) -> str:
    for ending in _NAME_ENDINGS:
        stem = stem.removesuffix(ending)
    return stem
