"""Pairing of LQ files with GT files by their names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tim_plugin.utils.errors import TimError
from tim_plugin.utils.images import images_of

# What datasets of street scenes put behind the name that an image and its label map share.
_NAME_ENDINGS = ("_leftImg8bit", "_gtFine_color", "_gtFine_labelTrainIds", "_L")


def pair_files(gt_files: Sequence[Path], lq_folder: Path) -> list[Path]:
    """Return the LQ file of each GT file: the one of the same stem, or of the same stem without a known ending.

    Raises:
        TimError: There is no such folder, or a GT has no LQ file, or two, or two have the same.
    """
    if not lq_folder.is_dir():
        raise TimError(f"{lq_folder}: there is no such folder; give the folder that holds the LQ files")
    found: dict[str, Path] = {}
    for path in images_of(lq_folder, lq_folder.iterdir(), say=False):
        for key in {path.stem, _shared(path.stem)}:
            if key in found:
                raise TimError(f"{path}: and {found[key].name} have one name ({key}): keep one of them")
            found[key] = path
    pairs: dict[Path, Path] = {}  # LQ -> GT
    for gt in gt_files:
        lq = found.get(gt.stem) or found.get(_shared(gt.stem))
        if lq is None:
            raise TimError(f"{gt}: has no LQ file of that name in {lq_folder}")
        if lq in pairs:
            raise TimError(f"{gt}: and {pairs[lq]} would both have the LQ file {lq}: give them different names")
        pairs[lq] = gt
    return list(pairs)


def _shared(stem: str) -> str:
    for ending in _NAME_ENDINGS:
        stem = stem.removesuffix(ending)
    return stem
