"""Folders of photographs as tools need them: at half their size, so that a small crop shows more; in tiles; in one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from paper.cached_runs import content_of, write_origin
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.images import list_images, read_bytes, read_image, write_png
from tim_plugin.utils.resize import bicubic_resize
from tim_plugin.utils.writing import write_atomically

SMALLEST_PX = 128


def halved(folders: Sequence[Path], work: Path) -> Path:
    """Write folders' photographs at half their size, antialiased, into one folder, those that are not there yet.

    Args:
        folders: Of photographs.
        work: What is written lies in a folder below it that is named by the photographs' content, so that other
            photographs of the same name are never taken for these.

    Returns:
        The folder below ``work``.

    Raises:
        TimError: There is no such folder, or a photograph is damaged or small.
    """
    folders = [folder.expanduser() for folder in folders]
    for folder in folders:
        if not folder.is_dir():
            raise TimError(f"--data: there is no folder {folder}; give a folder that holds train and val")
    target = work / "-".join(content_of(folder)[:10] for folder in folders)
    for path in (path for folder in folders for path in list_images(folder)):
        out = target / f"{path.stem}.png"
        if not out.exists():
            rgb = _read_large(path)
            height, width = rgb.shape[-2:]
            write_png(out, bicubic_resize(rgb, (height // 2, width // 2)).clamp(0, 1))
    write_origin(target, "halved", *folders)
    return target


def _read_large(path: Path) -> Tensor:
    rgb = read_image(path).rgb
    height, width = rgb.shape[-2:]
    if min(height, width) < SMALLEST_PX:
        raise TimError(f"{path}: is {width}x{height} pixels large; {SMALLEST_PX} are needed")
    return rgb


def tiles(folder: Path, target: Path, side: int, every: int = 2) -> Path:
    """Cut squares out of a folder's images, every other one of those that fit, as on a chessboard; return ``target``.

    Args:
        folder: Of images that are at least ``side`` pixels wide and high.
        target: Files are ``NAME_ROW_COLUMN.png``; those that are there already stay.
        side: Of the squares, in pixels.
        every: 1 cuts all of them.
    """
    for path in list_images(folder):
        rgb = read_image(path).rgb
        rows, columns = (length // side for length in rgb.shape[-2:])
        top, left = (
            (length - count * side) // 2 for length, count in zip(rgb.shape[-2:], (rows, columns), strict=True)
        )
        for row in range(rows):
            for column in range(row % every, columns, every):
                y, x, out = top + row * side, left + column * side, target / f"{path.stem}_{row}_{column}.png"
                if not out.exists():
                    write_png(out, rgb[:, y : y + side, x : x + side])
    write_origin(target, f"every {every}. tile of {side}x{side}", folder)
    return target


def gathered(folders: Sequence[Path], work: Path) -> Path:
    """Put the images of several folders into one, as they are, those that are not there yet.

    Args:
        folders: Of images; no two have a file of the same name.
        work: What is written lies in a folder below it that is named by the images' content.

    Returns:
        The folder below ``work``.

    Raises:
        TimError: There is no such folder, or two images have the same name.
    """
    paths = [path for folder in folders for path in list_images(folder)]
    twice = sorted(name for name, count in Counter(path.name for path in paths).items() if count > 1)
    if twice:
        raise TimError(f"--data: {twice[0]} lies in more than one of {', '.join(map(str, folders))}: rename one")
    target = work / "-".join(content_of(folder)[:10] for folder in folders)
    target.mkdir(parents=True, exist_ok=True)
    for path in paths:
        if not (target / path.name).exists():
            write_atomically(target / path.name, read_bytes(path))
    write_origin(target, "gathered", *folders)
    return target
