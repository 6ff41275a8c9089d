"""Checks of ``val: metrics``: their keys, and that images are large enough for them; no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tim_plugin.options.plain_checks import as_section, refuse_misspelling, require, require_text, section_of
from tim_plugin.options.val_sections import METRICS
from tim_plugin.options.values import check_section
from tim_plugin.utils.errors import TimError

NIQE_BLOCK = 96
SSIM_WINDOW = 11
OF_VALIDATION = ("distance", "distance_best", "diversity")  # and measures of consistency with the input


def check_metrics(opt: Mapping[str, Any]) -> None:
    """Check the metrics of a file, also against the crops of the data sets that they are computed on.

    Raises:
        TimError: For the first thing that is wrong.
    """
    for name, metric in section_of(opt, "val: metrics").items():
        require_text("val: metrics: the name of a metric", name)
        where = f"val: metrics: {name}"
        require(where, as_section(where, metric), ("type",))
        require_text(f"{where}: type", metric["type"])
        refuse_misspelling(f"{where}: type", metric["type"], METRICS)
        if metric["type"] in METRICS:
            check_section(
                where, METRICS[metric["type"]], {key: value for key, value in metric.items() if key != "type"}
            )
        for phase, dataset in section_of(opt, "datasets").items():
            size = dataset.get("gt_size") if isinstance(dataset, Mapping) else None
            sides = size if isinstance(size, (list, tuple)) else [size] * 2
            is_size = len(sides) == 2 and all(isinstance(side, int) and side for side in sides)  # else it is told below
            if is_size and not str(phase).startswith("train") and dataset.get("type") == "DegradedImageDataset":
                check_size(name, metric, *sides)


def refuse_taken_names(opt: Mapping[str, Any], measured: Iterable[str]) -> None:
    """Refuse a metric whose figure would be replaced by another one of the same name.

    Args:
        opt: All options.
        measured: Measures of consistency that validation has by itself.

    Raises:
        TimError: A metric is called like one of those, or ``distance``, ``diversity``, or the best of another metric.
    """
    metrics = section_of(opt, "val: metrics")
    taken = {*OF_VALIDATION, *measured, *(f"{name}_worst" for name in measured)}
    for name in metrics:
        best_of_others = {f"{other}_best" for other in metrics if other != name}
        if not taken.isdisjoint((name, f"{name}_best")) or name in best_of_others:
            raise TimError(
                f"val: metrics: {name}: the name is taken, by a figure that validation gives by itself: use another, "
                f"such as my_{name}"
            )


def check_size(name: str, metric: Mapping[str, Any], height: int, width: int, where: str = "") -> None:
    """Refuse a metric that cannot be computed of images of this size.

    Args:
        name: The metric's own.
        metric: Its options.
        height: Of an image.
        width: Of an image.
        where: Which image.

    Raises:
        TimError: It cannot.
    """
    kind, border = metric.get("type"), metric.get("crop_border") or 0
    sides = [side - 2 * border for side in (height, width)] if isinstance(border, int) else [height, width]
    images = where or f"images of {width}x{height}"
    if min(sides) < 1:
        raise TimError(f"val: metrics: {name}: crop_border {border} leaves nothing of {images}: use a smaller one")
    if kind == "calculate_ssim" and min(sides) < SSIM_WINDOW:
        raise TimError(f"val: metrics: {name}: SSIM needs {SSIM_WINDOW} pixels on each side of {images}: leave it out")
    if kind == "calculate_niqe" and (sides[0] // NIQE_BLOCK) * (sides[1] // NIQE_BLOCK) < 2:
        block = f"{NIQE_BLOCK}x{NIQE_BLOCK}"
        raise TimError(f"val: metrics: {name}: NIQE needs two blocks of {block} pixels in {images}: leave it out")
