"""Pictures of variants of the method: their Frechet distances, and their samples side by side (figure 9)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import pad

from paper.charts import where_matplotlib_is
from tim_plugin.utils.contact_sheet import GAP_PX, text_line
from tim_plugin.utils.images import read_image, write_png
from tim_plugin.utils.writing import replacing

Samples = list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]  # input, sample, GT


@where_matplotlib_is
def draw_variants(tasks: Mapping[str, Any], frechet: str, path: Path) -> None:
    """Draw the Frechet distance of each variant, mean and deviation over seeds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.4 * len(tasks), 3.4), dpi=120, layout="constrained")
    for axes, (task, variants) in zip(figure.subplots(1, len(tasks), squeeze=False).flat, tasks.items(), strict=True):
        for label in ("equal_iterations", "equal_time"):
            values = np.array([[row[frechet] for row in one[label]] for one in variants.values()])
            error = values.std(axis=1, ddof=1) if values.shape[1] > 1 else None
            axes.errorbar(list(variants), values.mean(axis=1), yerr=error, marker="o", capsize=3, label=label)
        axes.set(title=task, ylabel=frechet)
        axes.tick_params(axis="x", rotation=20)
        axes.set_xticks(axes.get_xticks(), axes.get_xticklabels(), horizontalalignment="right")
        axes.legend(fontsize=8)
    with replacing(path) as file:
        figure.savefig(file)


@where_matplotlib_is
def draw_samples(variants: Mapping[str, Samples], path: Path) -> None:
    """Draw a row for each input: the input, each variant's sample, the ground truth."""
    from matplotlib.figure import Figure

    columns, shown = ["input", *variants, "ground truth"], list(variants.values())
    figure = Figure(figsize=(1.5 * len(columns), 1.6 * len(shown[0])), dpi=110, layout="constrained")
    grid = figure.subplots(len(shown[0]), len(columns), squeeze=False)
    for index, line in enumerate(grid):
        tiles = [shown[0][index][0], *(one[index][1] for one in shown), shown[0][index][2]]
        for axes, title, tile in zip(line, columns, tiles, strict=True):
            axes.imshow(tile.clamp(0, 1).permute(1, 2, 0).numpy(), interpolation="nearest")
            axes.set_axis_off()
            axes.set_title("" if index else title, fontsize=9)
    with replacing(path) as file:
        figure.savefig(file)


def stack_samples(folder: Path, files: Mapping[str, str], path: Path) -> None:
    """Write the pictures of several tasks as one, each below its task's name.

    Args:
        folder: Of the pictures.
        files: Their names by task; one that is not there is left out.
        path: Of the joint picture.
    """
    parts = []
    for task, file in files.items():
        if (folder / file).is_file():
            picture = read_image(folder / file).rgb
            parts += [text_line([task], picture.shape[2] - GAP_PX), picture]
    if not parts:
        return
    width = max(part.shape[2] for part in parts)
    write_png(path, torch.cat([pad(part, (0, width - part.shape[2]), value=1.0) for part in parts], dim=1))
