"""Figure 3 from data to page: train (once), measure ten times, write the numbers, a table and the plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from paper.charts import where_matplotlib_is
from paper.pages import folder_of, table, write_target
from paper.run_conditions import conditions_of
from paper.sample_efficiency import CRITERIA, Efficiency, measure_efficiency
from paper.workbench import Workbench
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.images import list_images, read_image
from tim_plugin.utils.writing import replacing

TASK = "sr16x"
COUNTS = (2, 4, 8, 16)
VANILLA_SAMPLES = 512
RUNS = 10
INPUTS = 8
PAPER = "the paper's figure 3, read off its text: 2 to 8 times as many, more as m grows"
NAMES = {"last": "distance of the last level", "sum": "sum of all levels' distances"}


def reproduce_figure3(bench: Workbench) -> dict[str, Any]:
    """Measure figure 3 on unseen photographs and write ``fig3.{json,md,png}``.

    Args:
        bench: Preset, data, features, machine.

    Returns:
        What the JSON file holds.

    Raises:
        TimError: The data or the weights cannot be read.
    """
    run = bench.run(bench.preset.tim(TASK), bench.preset.seeds[0])
    (checkpoint,) = bench.train([run])
    tower = bench.network(bench.preset.tim(TASK), checkpoint)
    lq, gt = _inputs(bench.folders["val"], tower, bench.preset.gt_px, bench.device)
    conditions = {
        "runs": RUNS,
        "inputs": len(lq),
        "vanilla_samples_drawn": VANILLA_SAMPLES,
        "output_px": bench.preset.gt_px,
        "parameters": sum(p.numel() for p in tower.parameters()),
        "distance": bench.distance.name,
        "seeds": list(range(RUNS)),
        **conditions_of(run.option_file, run.options(), checkpoint, bench.data, bench.root, bench.device),
    }
    content = {"figure": _figures(_measured(bench, tower, lq, gt)), "conditions": conditions}
    folder = folder_of(bench.root, bench.preset.name)
    write_target(folder, "fig3", content, _page(content))
    _draw(content["figure"], folder / "fig3.png")
    return content


def _measured(bench: Workbench, tower: torch.nn.Module, lq: torch.Tensor, gt: torch.Tensor) -> list[Efficiency]:
    per_run = sum(COUNTS) + VANILLA_SAMPLES
    with tqdm(total=RUNS * per_run, unit="sample") as bar:
        return [
            measure_efficiency(tower, bench.distance, lq, gt, COUNTS, VANILLA_SAMPLES, seed, progress=bar.update)
            for seed in range(RUNS)
        ]


def _inputs(
    folder: Path, tower: torch.nn.Module, crop_px: int, device: str | torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """The centres of photographs that are spread evenly over the folder."""
    files = list_images(folder)
    if len(files) < INPUTS:
        raise TimError(f"{folder}: holds {len(files)} photographs; figure 3 measures {INPUTS}")
    crops = []
    for path in files[:: len(files) // INPUTS][:INPUTS]:
        image = read_image(path).rgb
        top, left = ((side - crop_px) // 2 for side in image.shape[-2:])
        crops.append(image[:, top : top + crop_px, left : left + crop_px])
    lq = torch.stack([tower.degradation.degrade(crop).lq for crop in crops])
    return lq.to(device), torch.stack(crops).to(device)


def _figures(runs: Sequence[Efficiency]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for criterion in CRITERIA:
        of_counts: dict[str, Any] = {}
        for m in COUNTS:
            needed = [run.needed(criterion, m) for run in runs]
            ratios = [(VANILLA_SAMPLES if one is None else one) / m for one in needed]
            of_counts[str(m)] = {
                "needed": needed,
                "not_reached": needed.count(None),
                "ratio_mean": float(np.mean(ratios)),  # too small where a run did not reach it
                "ratio_std": float(np.std(ratios)),
                "hierarchical_distance": float(np.mean([run.hierarchical[criterion][m] for run in runs])),
                "vanilla_distance_of_as_many": float(np.mean([run.vanilla[criterion][m - 1] for run in runs])),
            }
        result[criterion] = of_counts
    return result


def _page(content: Mapping[str, Any]) -> list[str]:
    header = ["m a level", "judged by", "vanilla / hierarchical samples", "runs that did not reach it"]
    header += ["distance, hierarchical", "distance, as many vanilla samples"]
    rows = []
    for criterion, of_counts in content["figure"].items():
        for m, one in of_counts.items():
            ratio = f"{one['ratio_mean']:.2f} +- {one['ratio_std']:.2f}"
            if one["not_reached"]:
                ratio = f"more than {ratio}"
            distances = [f"{one[key]:.3f}" for key in ("hierarchical_distance", "vanilla_distance_of_as_many")]
            rows.append([m, NAMES[criterion], ratio, str(one["not_reached"]), *distances])
    title = "# Figure 3: vanilla samples needed for the distance that hierarchical sampling reaches"
    return [title, "", *table(header, rows), "", f"Beside it: {PAPER}.", "", "![Figure 3](fig3.png)"]


@where_matplotlib_is
def _draw(figures: Mapping[str, Any], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 3.6), dpi=120, layout="constrained")
    axes = figure.subplots()
    for criterion, of_counts in figures.items():
        mean, std = ([one[key] for one in of_counts.values()] for key in ("ratio_mean", "ratio_std"))
        axes.errorbar(COUNTS, mean, yerr=std, marker="o", capsize=3, label=NAMES[criterion])
    axes.axhline(1, color="0.6", linewidth=1, label="hierarchical sampling")
    axes.set_xscale("log", base=2)
    axes.set_xticks(COUNTS, [str(m) for m in COUNTS])
    axes.set_xlabel("samples a level, hierarchical")
    axes.set_ylabel("vanilla samples needed, relative")
    axes.legend(fontsize=8)
    with replacing(path) as file:
        figure.savefig(file)
