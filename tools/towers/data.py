"""Which images each tower of the package is trained on, and which are measured: from the folder that --data names."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from demos.digits_demo import digit_data
from demos.layouts_demo import PARTS, layout_data
from paper.halved_photographs import gathered, halved

Data = Callable[[Path, Path], dict[str, Any]]
JUDGED_PX = 128


def _bsds500(data: Path, *phases: str) -> list[Path]:
    """Return folders of BSDS500; the data's folder holds it as ``bsds500``, or is it."""
    return [_within(data, "bsds500") / phase for phase in phases]


def _within(data: Path, name: str) -> Path:
    held = data.expanduser() / name
    return held if held.is_dir() else data


def photographs_to_train_on(root: Path, data: Path) -> dict[str, Any]:
    """Return the options that name those of BSDS500 at half their size."""
    folder = halved(_bsds500(data, "train", "test"), root / "datasets" / "weights_half")
    return {"datasets:train:dataroot_gt": str(folder)}


def all_photographs_to_train_on(root: Path, data: Path) -> dict[str, Any]:
    """Return the options that name those of BSDS500 at half their size and those of ``photos`` as they are."""
    work = root / "datasets"
    half = halved(_bsds500(data, "train", "test"), work / "weights_half")
    folder = gathered([half, data.expanduser() / "photos" / "train"], work / "weights_all")
    return {"datasets:train:dataroot_gt": str(folder)}


def photographs_held_out(task: str, scale: int, **options: Any) -> Data:
    """Those of BSDS500 that were held out, at half their size, whole."""

    def section(root: Path, data: Path) -> dict[str, Any]:
        folder = halved(_bsds500(data, "val"), root / "datasets" / "reproduce_half" / "val")
        return _section(task, scale, dataroot_gt=str(folder), **options)

    return section


def _section(task: str, scale: int, **options: Any) -> dict[str, Any]:
    return {"name": "held_out", "type": "DegradedImageDataset", "task": task, "scale": scale, "phase": "val", **options}


def middles(task: str, scale: int, *folders: str, half: bool = False, **options: Any) -> Data:
    """The middle squares of photographs below the data's folder."""

    def section(root: Path, data: Path) -> dict[str, Any]:
        found = data / folders[0]
        if half:
            found = halved([data / folder for folder in folders], root / "datasets" / "judged_half")
        return _section(task, scale, dataroot_gt=str(found), gt_size=JUDGED_PX, **options)

    return section


def judged_on_photographs(task: str, scale: int, **options: Any) -> dict[str, tuple[Data, Data]]:
    """Both sets of held-out photographs, and what their floors are of."""
    of = partial(middles, task, scale, **options)
    return {
        "BSDS500": (of("bsds500/val", half=True), of("bsds500/train", "bsds500/test", half=True)),
        "photographs": (of("photos/val"), of("photos/train")),
    }


def _training_only(overrides: dict[str, str]) -> dict[str, str]:
    """Of a demo's options that name its data those of training: the towers' option files have no validation."""
    return {key: value for key, value in overrides.items() if not key.startswith("datasets:val")}


def _camvid(data: Path) -> Path:
    """Return CamVid's folder; the data's folder holds it as ``camvid``, or is it."""
    return _within(data, "camvid")


def layout_training(root: Path, data: Path) -> dict[str, Any]:
    """Return the options that name CamVid's frames and label maps."""
    return _training_only(layout_data(root, _camvid(data)))


def layouts_of(phase: str) -> Data:
    """CamVid's frames of ``train`` or ``val``."""

    def section(root: Path, data: Path) -> dict[str, Any]:
        pairs = _camvid(data) / phase
        images, labels = (str(pairs / part) for part in PARTS)
        size = {"gt_size": [144, 192], "resize": "whole"}
        return _section("layouts", 1, dataroot_gt=images, dataroot_lq=labels, palette="camvid", void="channel", **size)

    return section


def digits_training(root: Path, data: Path) -> dict[str, Any]:
    """Return the options that name the digits and their basis."""
    return _training_only(digit_data(data))


def digits_held_out(root: Path, data: Path) -> dict[str, Any]:
    """Return the data set of the digits that are measured."""
    found = digit_data(data)
    digits, basis = (found[f"datasets:val:{key}"] for key in ("dataroot_gt", "basis"))
    return _section("mnist_pca", 1, dataroot_gt=digits, basis=basis, num_components=10, max_images=200)


def flowers_to_train_on(root: Path, data: Path) -> dict[str, Any]:
    """Return the options that name the flowers."""
    return {"datasets:train:dataroot_gt": str(data / "train")}
