"""Checks of the options of BasicSR's PairedImageDataset and SingleImageDataset against each other; no torch."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from tim_plugin.options.plain_checks import require_number
from tim_plugin.utils.errors import TimError


def check_paired_options(section: str, dataset: Mapping[str, Any], scale: Any, training: bool) -> None:
    """Check what BasicSR's datasets would fail at, or ignore.

    Args:
        section: What the dataset is called in errors.
        dataset: Its options.
        scale: The file's.
        training: Whether crops are trained on.

    Raises:
        TimError: For the first thing that is wrong.
    """
    _check_normalisation(section, dataset)
    if dataset["type"] == "SingleImageDataset":
        return
    if scale is None:
        raise TimError(f"scale is missing, which {section} needs: the size of the GT over the size of the LQ")
    require_number("scale", scale, int, 1)
    size = dataset.get("gt_size")
    if training and isinstance(size, int) and size % scale:
        near = sorted({max(size // scale, 1) * scale, (size // scale + 1) * scale})
        raise TimError(
            f"{section}: gt_size {size} is not a multiple of scale {scale}: use {' or '.join(map(str, near))}"
        )
    _check_template(section, dataset.get("filename_tmpl"))


def channels_of(dataset: Mapping[str, Any]) -> int:
    """Return how many channels the images of one of BasicSR's datasets have: it reads grey files as colours too."""
    return 1 if dataset.get("color") == "y" else 3


def check_backend(section: str, dataset: Mapping[str, Any]) -> None:
    """Check that the files can be read as ``io_backend`` says: folders named as BasicSR wants them, packages there.

    Raises:
        TimError: They cannot.
    """
    kind = (dataset.get("io_backend") or {}).get("type")
    if kind == "memcached" and find_spec("mc") is None:
        raise TimError(f"{section}: io_backend: memcached needs its Python module mc, which is not installed")
    for key in ("dataroot_gt", "dataroot_lq") if kind == "lmdb" else ():
        if dataset.get(key) is not None and not dataset[key].endswith(".lmdb"):
            raise TimError(f"{section}: {key} {dataset[key]}: the folder of an lmdb is named NAME.lmdb")


def _check_normalisation(section: str, dataset: Mapping[str, Any]) -> None:
    channels = channels_of(dataset)
    given = {key: dataset[key] for key in ("mean", "std") if dataset.get(key) is not None}
    if len(given) == 1:
        raise TimError(f"{section}: mean and std go together: give both, or none")
    for key, values in given.items():
        if len(values) != channels:
            raise TimError(f"{section}: {key} has {len(values)} entries for {channels} channels")


def _check_template(section: str, template: str | None) -> None:
    if template is None:
        return
    try:
        fits = template.format("one") != template.format("two")
    except (IndexError, KeyError, ValueError, AttributeError):
        fits = False
    if not fits or "/" in template or "\\" in template:
        raise TimError(f"{section}: filename_tmpl {template!r} must hold one {{}}, which stands for the GT's name")
