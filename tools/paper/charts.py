"""Bar charts of the compared systems, a panel for each task."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from tim_plugin.utils.writing import replacing


def draw_bars(tasks: Mapping[str, Mapping[str, float]], first: str, label: str, path: Path) -> None:
    """Write a chart with a bar for each system, from top to bottom as they are given.

    Args:
        tasks: Figures by task and system.
        first: The system that stands out.
        label: What the figures are.
        path: Of the picture.
    """
    counts = [len(systems) for systems in tasks.values()]
    size = (7.0, 0.5 + sum(0.65 + 0.3 * count for count in counts))
    figure = Figure(figsize=size, dpi=120, layout="constrained")
    panels = figure.subplots(len(tasks), 1, squeeze=False, height_ratios=[1 + count for count in counts]).flat
    for axes, (task, systems) in zip(panels, tasks.items(), strict=True):
        colors = ["tab:orange" if name == first else "tab:blue" for name in systems]
        bars = axes.barh(list(systems), list(systems.values()), height=0.7, color=colors)
        axes.bar_label(bars, fmt="{:,.4g}" if max(systems.values()) < 1000 else "{:,.0f}", padding=3, fontsize=8)
        axes.set_title(task, fontsize=10)
        axes.invert_yaxis()
        axes.margins(x=0.12)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    figure.supxlabel(label, fontsize=9)
    with replacing(path) as file:
        figure.savefig(file)
