"""What BasicSR's own image datasets are given, looked at before they read it; each mistake names its file."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2

from tim_plugin.utils.errors import TimError
from tim_plugin.utils.images import is_image
from tim_plugin.utils.texts import read_text

MISTAKES = (AssertionError, AttributeError, LookupError, OSError, TypeError, ValueError, cv2.error)


def checking_pairs(init: Any) -> Any:
    """Return a dataset's constructor that checks its pairs first, and turns what BasicSR raises into one sentence."""

    @functools.wraps(init)
    def wrapper(self: Any, opt: dict[str, Any]) -> None:
        try:
            if opt.get("dataroot_gt") is not None:
                check_pairs(opt)
            init(self, opt)
        except TimError:
            raise
        except MISTAKES as error:
            text = " ".join(f"{type(error).__name__} {error}".split())
            raise TimError(f"dataset {opt.get('name', '')}: {text}") from error

    return wrapper


def naming_files(getitem: Any) -> Any:
    """Return a dataset's ``__getitem__`` whose errors name the files."""

    @functools.wraps(getitem)
    def wrapper(self: Any, index: int) -> dict[str, Any]:
        try:
            item = getitem(self, index)
        except TimError:
            raise
        except MISTAKES as error:  # among them what None.astype and None / 255 raise
            names = self.paths[index]
            names = ", ".join(names[key] for key in ("lq_path", "gt_path")) if isinstance(names, dict) else names
            if isinstance(error, (AttributeError, TypeError, cv2.error)):
                text = "one of them is missing, empty or damaged" if ", " in names else "it is empty or damaged"
            else:
                text = " ".join(" ".join(map(str, error.args)).split())
            raise TimError(f"cannot read the image{' pair' * (', ' in names)} {names}: {text}") from error
        if "gt" in item:
            check_sizes(item, self.opt["scale"])
        return item

    return wrapper


def check_pairs(opt: Mapping[str, Any]) -> None:
    """Check that each GT of a PairedImageDataset has its LQ, and each LQ its GT.

    Args:
        opt: The dataset's options.

    Raises:
        TimError: Something is missing or left over; the first such file, entry or key is named.
    """
    folders = {key: Path(opt[f"dataroot_{key}"]) for key in ("gt", "lq")}
    where, template = f"dataset {opt.get('name', '')}", opt.get("filename_tmpl") or "{}"
    if opt["io_backend"]["type"] == "lmdb":
        _check_lmdb(where, folders)
    elif opt.get("meta_info_file") is not None:
        _check_list(where, Path(opt["meta_info_file"]), folders, template)
    else:
        _check_folders(folders, template)


def check_sizes(item: Mapping[str, Any], scale: int) -> None:
    """Raise TimError for a pair whose GT has not ``scale`` times the size of its LQ."""
    (height, width), sizes = item["gt"].shape[-2:], [side * scale for side in item["lq"].shape[-2:]]
    if [height, width] != sizes:
        raise TimError(
            f"{item['gt_path']}: is {width}x{height}, but {scale} times its LQ {item['lq_path']} is "
            f"{sizes[1]}x{sizes[0]}"
        )


def _check_lmdb(where: str, folders: Mapping[str, Path]) -> None:
    keys = {}
    for key, folder in folders.items():
        path = folder / "meta_info.txt"
        keys[key] = {line.split(".")[0] for line in read_text(path, f"{where}: {path}").splitlines() if line}
    for key, other in (("gt", "lq"), ("lq", "gt")):
        for name in sorted(keys[key] - keys[other])[:1]:
            raise TimError(f"{where}: {folders[key]} has the image {name!r}, and {folders[other]} has not")
        for name in sorted(name for name in keys[key] if not name.isascii())[:1]:
            raise TimError(f"{where}: {folders[key]}: {name!r} is no key of an lmdb, which BasicSR writes in ASCII")


def _check_list(where: str, path: Path, folders: Mapping[str, Path], template: str) -> None:
    lines = read_text(path, f"{where}: meta_info_file {path}").splitlines()
    if not lines:
        raise TimError(f"{where}: meta_info_file {path} is empty: one line an image, 'NAME.png (256,256,3)'")
    for number, line in enumerate(lines, 1):
        name = line.strip().split(" ")[0]  # as BasicSR takes it
        for folder, file in ((folders["gt"], name), (folders["lq"], _lq_name(name, template))):
            if not name or not os.path.isfile(folder / file):  # False also where it is no name
                raise TimError(
                    f"{where}: meta_info_file {path}: line {number} names {file!r}, which is no file of {folder} "
                    "(a name ends at its first space)"
                )


def _check_folders(folders: Mapping[str, Path], template: str) -> None:
    names = {key: _files(folder) for key, folder in folders.items()}
    pairs = {_lq_name(name, template): name for name in names["gt"]}
    for lq, gt in pairs.items():
        if lq not in names["lq"]:
            raise TimError(f"{folders['gt'] / gt}: has no LQ file {lq} in {folders['lq']}")
    for name in sorted(names["lq"] - set(pairs)):
        raise TimError(f"{folders['lq'] / name}: has no GT file in {folders['gt']}: remove it, or add its GT")


def _files(folder: Path) -> set[str]:
    """Return the names of what BasicSR takes for the images of a folder."""
    try:
        names = {entry.name for entry in os.scandir(folder) if entry.is_file() and not entry.name.startswith(".")}
    except OSError as error:
        raise TimError(f"{folder}: cannot be read: {error.strerror}") from error
    for name in sorted(names):
        if not is_image(folder / name) and not cv2.haveImageReader(str(folder / name)):
            raise TimError(f"{folder / name}: is no image, and BasicSR reads each file of the folder: remove it")
    return names


def _lq_name(name: str, template: str) -> str:
    stem, suffix = os.path.splitext(os.path.basename(name))
    return f"{template.format(stem)}{suffix}"
