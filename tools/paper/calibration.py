"""Are the package's towers' samples distributed like the truth? Measured on tiles of photographs that were held out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from paper.cached_runs import content_of, kept_json
from paper.charts import draw_calibration
from paper.halved_photographs import tiles
from paper.pages import folder_of, table, with_other_tasks, write_target
from paper.posterior_figures import HEADER, INPUTS, MEANING, METRICS, NUM_SAMPLES, measure_posterior, posterior_cells
from paper.run_conditions import machine
from paper.workbench import AT_ONCE, SAMPLING_SEED, Workbench
from tim_plugin import __version__
from tim_plugin.inference import towers as pretrained
from tim_plugin.metrics.calibration import SPACES
from tim_plugin.metrics.network_cases import NetworkCases
from tim_plugin.metrics.posterior import coverage, widest
from tim_plugin.utils.metric_names import VARIATION
from towers.recipes import TOWERS

TOWER_OF = {
    "sr16x": "sr16x-small",
    "sr8x": "sr8x-small",
    "sr4x": "sr4x-small",
    "colorization": "colorize-small",
    "decompression": "decompress-small",
}
TASKS = tuple(TOWER_OF)
TEMPERATURES = (1.5, 2.0)  # beside 1, that of training
TILE_PX = 64
ABOUT = f"""{NUM_SAMPLES} samples of each of evenly spread tiles that no tower was trained on. {MEANING} G-STD is the
deviation over samples of the PSNR (dB), L-STD that of each pixel (in [0, 1]): how much samples differ, whether that is
right or not. [How each is measured](../../guide/evaluation.md)."""
ABOUT_TEMPERATURE = """The same with latents that are multiplied by a temperature
([how](../../guide/exploring.md)); at 1 as the tower keeps them."""


def reproduce_calibration(bench: Workbench, tasks: Sequence[str] = TASKS) -> dict[str, Any]:
    """Measure the package's towers, those that were not measured yet; write ``calibration.{json,md,png}``.

    Args:
        bench: Data, distance, machine; of the data ``val`` alone is read.
        tasks: Of :data:`TASKS`.

    Returns:
        What ``calibration.json`` holds.

    Raises:
        TimError: The data or the features cannot be read.
    """
    folder = folder_of(bench.root, bench.preset.name)
    measured = {task: _at_temperatures(bench, TOWER_OF[task]) for task in tasks}
    conditions = {task: _conditions(bench, one["images"]) for task, one in measured.items()}
    content = {"tasks": measured, "conditions": conditions}

    def stale(task: str, kept: Mapping[str, Any], conditions: Mapping[str, Any]) -> bool:
        return kept["weights"] != content_of(pretrained.path_of(TOWER_OF[task]))

    content = with_other_tasks(folder, "calibration", content, TASKS, stale)
    write_target(folder, "calibration", content, _page(content["tasks"]))
    draw_calibration(
        {TOWER_OF[task]: _curves(one) for task, one in content["tasks"].items()}, folder / "calibration.png"
    )
    return content


def _at_temperatures(bench: Workbench, name: str) -> dict[str, Any]:
    """Return a tower's figures, and as ``temperatures`` those at each of the others."""
    others = {f"{one:g}": _figures(bench, name, one) for one in TEMPERATURES}
    return {**_figures(bench, name, 1.0), "temperatures": others}


def _figures(bench: Workbench, name: str, temperature: float) -> dict[str, Any]:
    """Return a tower's figures, from where they are kept if they were measured before."""
    weights = content_of(pretrained.path_of(name))
    section = section_of_tiles(bench, name)
    key = {
        "tower": weights,
        "dataset": {**section, "dataroot_gt": content_of(Path(section["dataroot_gt"]))},
        "distance": bench.distance.name,
        "features": bench.content_of_weights,
        "measured": [*METRICS, INPUTS, NUM_SAMPLES, SAMPLING_SEED, __version__],
        **({} if temperature == 1 else {"temperature": temperature}),
    }
    place = bench.root / "experiments" / "reproduce_towers"
    return {"weights": weights, **kept_json(place, name, key, lambda: _measured(bench, name, section, temperature))}


def section_of_tiles(bench: Workbench, name: str) -> dict[str, Any]:
    """Return the data set that the tower's card is measured on, cut into tiles."""
    section = TOWERS[name].held_out(bench.root, bench.data)
    whole = Path(section["dataroot_gt"])
    return {**section, "dataroot_gt": str(tiles(whole, whole.parent.parent / f"val_{TILE_PX}" / whole.name, TILE_PX))}


def _measured(bench: Workbench, name: str, section: Mapping[str, Any], temperature: float) -> dict[str, Any]:
    network = pretrained.load(name, bench.device).network
    return measure_posterior(
        bench, NetworkCases(section, network, NUM_SAMPLES, SAMPLING_SEED, bench.device, AT_ONCE, temperature)
    )


def _conditions(bench: Workbench, images: int) -> dict[str, Any]:
    return {
        "data_set": f"{bench.data.resolve().name}, halved; tiles of val",
        "output_px": TILE_PX,
        "images_measured": images,
        "samples_of_each_input": NUM_SAMPLES,
        "sampling_seed": SAMPLING_SEED,
        "distance": bench.distance.name,
        **machine(bench.root, bench.device),
    }


def _page(tasks: Mapping[str, Mapping[str, Any]]) -> list[str]:
    header = ["tower", *HEADER, "best of 1", "best of 8", f"best of {NUM_SAMPLES}", "diversity", "G-STD", "L-STD"]
    rows = [[f"`{TOWER_OF[task]}`", *_cells(one)] for task, one in tasks.items()]
    lines = ["# Are the samples distributed like the truth?", "", ABOUT, "", *table(header, rows), ""]
    lines += ["![Coverage, best of n, distance and diversity](calibration.png)", ""]
    lines += [
        "Left: a true posterior lies on the grey line; middle: the expected best of n as a share of best of 1.",
        "",
    ]
    warm = [
        [f"`{TOWER_OF[task]}`", temperature, *_shared_cells(figures)]
        for task, one in tasks.items()
        for temperature, figures in {"1": one, **one.get("temperatures", {})}.items()
    ]
    header = ["tower", "temperature", *header[1:-2]]
    return [*lines, "## More variety than in training", "", ABOUT_TEMPERATURE, "", *table(header, warm)]


def _cells(one: Mapping[str, Any]) -> list[str]:
    variation = one[VARIATION]
    return [*_shared_cells(one), f"{variation['g_std']['psnr']:.3f}", f"{variation['l_std']:.4f}"]


def _shared_cells(one: Mapping[str, Any]) -> list[str]:
    """Return what both tables have of a tower's figures."""
    curve = one["lpips"]["best_of_curve"]
    cells = posterior_cells([one])
    cells += [f"{curve[count - 1]:.3f}" for count in (1, 8, NUM_SAMPLES)]
    return [*cells, f"{one['lpips_diversity']:.3f}"]


def _curves(one: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the chart shows of a tower: coverage by level, best of n, mean distance and diversity."""
    levels = np.linspace(0, widest(NUM_SAMPLES), NUM_SAMPLES)
    ranks = {space: torch.tensor(one["rank_histogram"][space]) for space in SPACES}
    return {
        "levels": levels.tolist(),
        "coverage": {space: [coverage(ranks[space], level) for level in levels] for space in SPACES},
        "best_of": one["lpips"]["best_of_curve"],
        "distance": one["lpips"]["mean"],
        "diversity": one["lpips_diversity"],
    }
