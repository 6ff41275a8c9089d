"""Charts: bars of the compared systems, a panel for each task; and how a system's samples are distributed."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tim_plugin.utils.writing import replacing


def where_matplotlib_is(draw: Callable[..., None]) -> Callable[..., None]:
    """Draw, or say that there is no picture, where matplotlib is not installed: numbers and pages need none.

    Args:
        draw: Its last argument is the picture's path; it imports matplotlib itself.
    """

    @functools.wraps(draw)
    def drawn(*arguments: Any) -> None:
        try:
            draw(*arguments)
        except ModuleNotFoundError as error:
            if str(error.name).split(".")[0] != "matplotlib":
                raise
            print(
                f"{arguments[-1]}: is not drawn, since matplotlib is not installed; all else is there", file=sys.stderr
            )

    return drawn


@where_matplotlib_is
def draw_bars(tasks: Mapping[str, Mapping[str, float]], first: str, label: str, path: Path) -> None:
    """Write a chart with a bar for each system, from top to bottom as they are given.

    Args:
        tasks: Figures by task and system.
        first: The system that stands out.
        label: What the figures are.
        path: Of the picture.
    """
    from matplotlib.figure import Figure

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


@where_matplotlib_is
def draw_calibration(systems: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Write a chart of coverage by level, of the best of n by n, and of distance against diversity.

    Args:
        systems: By name ``levels``, ``coverage`` by space, ``best_of``, ``distance`` and ``diversity``.
        path: Of the picture.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.6), dpi=120, layout="constrained")
    covered, best, fidelity = figure.subplots(1, 3)
    covered.plot([0, 1], [0, 1], color="0.6", linewidth=1)
    for name, one in systems.items():
        (line,) = covered.plot(one["levels"], one["coverage"]["pixels"], label=name)
        covered.plot(one["levels"], one["coverage"]["features"], color=line.get_color(), linestyle="--")
        counts = range(1, len(one["best_of"]) + 1)
        best.plot(counts, [value / one["best_of"][0] for value in one["best_of"]], color=line.get_color())
        fidelity.plot(one["diversity"], one["distance"], "o", color=line.get_color())
    covered.set(xlabel="level of the central interval", ylabel="truths within it (dashed: features)")
    covered.legend(fontsize=8)
    best.set(xlabel="n", ylabel="expected best of n, of best of 1", xscale="log")
    ticks = [2**power for power in range(len(best.lines[0].get_xdata()).bit_length())]
    best.set_xticks(ticks, [str(one) for one in ticks], minor=False)
    best.minorticks_off()
    fidelity.set(xlabel="diversity", ylabel="mean distance to the truth")
    fidelity.margins(0.15)
    with replacing(path) as file:
        figure.savefig(file)
