"""Table 5 and figure 9: what the parts of the method are worth, removed one after the other."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from basicsr.data import build_dataset
from matplotlib.figure import Figure
from torch.nn.functional import pad
from torch.utils.data import DataLoader

from paper.pages import Stale, folder_of, spread, table, with_other_tasks, write_target
from paper.parallel_runs import Run
from paper.presets import ABLATIONS, System
from paper.run_conditions import trained_at
from paper.step_time import clock_of, kept_step_seconds
from paper.workbench import SAMPLING_SEED, Workbench
from tim_plugin.degradations.base import Observed
from tim_plugin.imle.pyramid import condition_pyramid, target_pyramid
from tim_plugin.imle.search import search_by
from tim_plugin.inference.samples import sample_loader
from tim_plugin.options.schema import ImleSpec
from tim_plugin.options.values import build_spec
from tim_plugin.utils.contact_sheet import GAP_PX, text_line
from tim_plugin.utils.images import read_image, write_png
from tim_plugin.utils.trees import move

TASKS = ("sr16x", "decompression")
PAPER = {  # FID
    "sr16x": (16.75, 17.70, 18.58, 21.66, 22.51),
    "decompression": (72.75, 81.24, 84.57, 99.54, 102.82),
}
SEARCHED_INPUTS = 96
SEARCH_BATCH = 16
SHOWN_INPUTS = 3
Variants = list[tuple[str, dict[str, Any]]]
Samples = list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]  # input, sample, GT


def reproduce_table5(bench: Workbench, tasks: Sequence[str] = TASKS) -> dict[str, Any]:
    """Train and measure every variant with every seed; write ``table5.{json,md,png}`` and ``fig9.*``.

    Tasks that were measured before and are not asked for stay on the pages.

    Args:
        bench: Preset, data, features, machine.
        tasks: Of :data:`TASKS`.

    Returns:
        What ``table5.json`` holds.

    Raises:
        TimError: The data or the features cannot be read.
    """
    measured, pictures = measure_variants(bench, tasks, cumulative())
    folder = folder_of(bench.root, bench.preset.name)
    content = with_other_tasks(folder, "table5", measured, TASKS, stale_variants(bench, cumulative()))
    title = "# Table 5: parts of the method removed, one after the other"
    about = "HS: hierarchical sampling, MN: mapping network, IS: intermediate supervision, WN: weight normalisation."
    write_target(folder, "table5", content, variants_page(content, bench, title, about, "table5", PAPER))
    draw_variants(content["tasks"], bench.extractor.frechet, folder / "table5.png")
    for task, variants in pictures.items():
        _draw_samples(variants, folder / f"fig9_{task}.png")
    files = {task: f"fig9_{task}.png" for task in pictures}
    samples = {"tasks": files, "conditions": measured["conditions"]}
    shown = with_other_tasks(folder, "fig9", samples, TASKS, lambda task, *_: task not in content["tasks"])
    page = ["# Figure 9: samples as parts of the method are removed", ""]
    page += ["One input a row, each variant's first sample, seed 0; the last column is the ground truth."]
    page += ["[All tasks in one picture](fig9.png)."]
    for task, file in shown["tasks"].items():
        page += ["", f"## {task}", "", f"![Samples of each variant]({file})"]
    stack_samples(folder, shown["tasks"], folder / "fig9.png")
    write_target(folder, "fig9", shown, page)
    return content


def measure_variants(
    bench: Workbench, tasks: Sequence[str], variants: Variants
) -> tuple[dict[str, Any], dict[str, dict[str, Samples]]]:
    """Train TIM with each of several changes and every seed, and measure at equal iterations and at equal time.

    Args:
        bench: Preset, data, features, machine.
        tasks: Of the preset's.
        variants: Names and options; the first name is what the others are compared with.

    Returns:
        The target's content, and for each task and variant a few inputs, samples and ground truths.
    """
    content: dict[str, Any] = {"tasks": {}, "conditions": {}}
    pictures = {}
    for task in tasks:
        system = bench.preset.tim(task)
        runs = {
            (name, seed): bench.run(system, seed, forced) for seed in bench.preset.seeds for name, forced in variants
        }
        paths = dict(zip(runs, bench.train(list(runs.values())), strict=True))
        first = bench.preset.seeds[0]
        seconds = kept_step_seconds({name: runs[name, first] for name, _ in variants}, bench.root)
        content["tasks"][task] = _measured(bench, task, runs, paths, seconds)
        content["conditions"][task] = {
            **bench.conditions(),
            "seeds": list(bench.preset.seeds),
            "seconds_an_iteration": clock_of(runs[variants[0][0], first]),
            **trained_at(bench.root, [run.name() for run in runs.values()]),
        }
        pictures[task] = {name: _samples(bench, task, paths[name, first]) for name, _ in variants}
    return content, pictures


def stale_variants(bench: Workbench, variants: Variants) -> Stale:
    """Return whether a task's figures, of :func:`measure_variants`, are of other runs than would be made now."""

    def stale(task: str, kept: Mapping[str, Any], conditions: Mapping[str, Any]) -> bool:
        system = bench.preset.tim(task)
        return {name: [row["run"] for row in one["equal_iterations"]] for name, one in kept.items()} != {
            name: [bench.run(system, seed, forced).name() for seed in conditions["seeds"]] for name, forced in variants
        }

    return stale


def cumulative() -> Variants:
    """Return each variant's options: its own change and those before it."""
    so_far: dict[str, Any] = {}
    found = []
    for name, change in ABLATIONS:
        so_far |= change
        found.append((name, dict(so_far)))
    return found


def _measured(
    bench: Workbench, task: str, runs: Mapping, paths: Mapping[Any, Path], seconds: Mapping[str, float]
) -> dict[str, Any]:
    """Figures by variant: at equal iterations, and at the time that the fastest variant takes for them."""
    system, result = bench.preset.tim(task), {}
    run = next(iter(runs.values()))
    total, step = run.iterations(), int(run.options()["logger"]["save_checkpoint_freq"])
    budget = total * min(seconds.values())
    for name in seconds:
        reached = min(int(budget / seconds[name] / step) * step, total)
        one: dict[str, Any] = {"seconds_an_iteration": seconds[name], "iterations": total}
        one["iterations_at_equal_time"] = reached
        for label, iteration in (("equal_iterations", total), ("equal_time", reached)):
            rows = []
            for seed in bench.preset.seeds:
                last = paths[name, seed]
                path = last if iteration == total else last.with_name(f"net_g_{iteration}.pth")
                figures = dict(bench.figures(system, path))
                figures["selected_distance"] = _selected(bench, task, path, runs[name, seed])
                figures["run"] = path.parent.parent.name
                rows.append(figures)
            one[label] = rows
        result[name] = one
    return result


def _selected(bench: Workbench, task: str, checkpoint: Path, run: Run) -> float:
    """The last level's distance of what a variant's own search finds on images that were not trained on."""
    imle = build_spec(ImleSpec, run.options()["imle"])
    what = {"imle": dataclasses.asdict(imle), "inputs": SEARCHED_INPUTS, "batch": SEARCH_BATCH}
    system = bench.preset.tim(task)
    kept = bench.kept(
        "selected", system, checkpoint, what, lambda: {"distance": _search(bench, system, checkpoint, imle)}
    )
    return kept["distance"]


@torch.no_grad()
def _search(bench: Workbench, system: System, checkpoint: Path, imle: ImleSpec) -> float:
    tower = bench.network(system, checkpoint)
    levels = tower.spec.num_levels
    search = search_by(imle.sampling, imle.supervised(levels), imle.radii(levels))
    loader = DataLoader(build_dataset(bench.dataset(system)), batch_size=SEARCH_BATCH)
    generator, found = torch.Generator(bench.device).manual_seed(0), []
    for batch in loader:
        observed = move(Observed(batch["lq"], batch.get("given", {})), bench.device)
        conditions = condition_pyramid(observed, tower.spec, tower.degradation)
        targets = target_pyramid(batch["gt"].to(bench.device), levels)
        selection = search(
            tower, bench.distance, conditions, targets, imle.samples(levels), generator, 4 * SEARCH_BATCH
        )
        found += selection.distances[:, -1].tolist()
        if len(found) >= SEARCHED_INPUTS:
            break
    return sum(found) / len(found)


def _samples(bench: Workbench, task: str, checkpoint: Path) -> Samples:
    """Input, first sample and GT of a few measured images."""
    system = bench.preset.tim(task)
    loader = DataLoader(bench.spread_images(system, SHOWN_INPUTS))
    answers = sample_loader(bench.network(system, checkpoint), loader, 1, SAMPLING_SEED, bench.device)
    return [(one.lq, one.samples[0], one.gt) for one, _ in answers]


def variants_page(
    content: Mapping[str, Any],
    bench: Workbench,
    title: str,
    about: str,
    picture: str,
    paper: Mapping[str, Sequence[float]] | None = None,
) -> list[str]:
    """Return the page of :func:`measure_variants`, for each task a table at equal iterations and one at equal time."""
    frechet, lines = bench.extractor.frechet, [title, "", about]
    for task, variants in content["tasks"].items():
        for label, text in (("equal_iterations", "equal iterations"), ("equal_time", "equal time")):
            header = ["variant", *(["paper: FID"] if paper else []), frechet, "mean distance"]
            header += [f"best of {bench.preset.num_samples}", "diversity", "distance of the selected"]
            header += ["s/iteration", "iterations", "parameters"]
            rows = []
            for index, (name, one) in enumerate(variants.items()):
                theirs = [f"{paper[task][index]:.2f}"] if paper else []
                rows.append([name, *theirs, *_row(one, label, frechet, bench)])
            lines += ["", f"## {task}, {text}", "", *table(header, rows)]
    return [*lines, "", f"![Frechet distance by variant]({picture}.png)"]


def _row(one: Mapping[str, Any], label: str, frechet: str, bench: Workbench) -> list[str]:
    figures, best = one[label], f"best_of_{bench.preset.num_samples}"
    return [
        spread([row[frechet] for row in figures]),
        spread([row["lpips"]["mean"] for row in figures]),
        spread([row["lpips"][best] for row in figures]),
        spread([row["lpips_diversity"] for row in figures]),
        spread([row["selected_distance"] for row in figures]),
        f"{one['seconds_an_iteration']:.3f}",
        str(one["iterations" if label == "equal_iterations" else "iterations_at_equal_time"]),
        f"{figures[0]['parameters']:,}",
    ]


def draw_variants(tasks: Mapping[str, Any], frechet: str, path: Path) -> None:
    """Draw the Frechet distance of each variant, mean and deviation over seeds."""
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
    figure.savefig(path)


def _draw_samples(variants: Mapping[str, Samples], path: Path) -> None:
    columns, shown = ["input", *variants, "ground truth"], list(variants.values())
    figure = Figure(figsize=(1.5 * len(columns), 1.6 * len(shown[0])), dpi=110, layout="constrained")
    grid = figure.subplots(len(shown[0]), len(columns), squeeze=False)
    for index, line in enumerate(grid):
        tiles = [shown[0][index][0], *(one[index][1] for one in shown), shown[0][index][2]]
        for axes, title, tile in zip(line, columns, tiles, strict=True):
            axes.imshow(tile.clamp(0, 1).permute(1, 2, 0).numpy(), interpolation="nearest")
            axes.set_axis_off()
            axes.set_title("" if index else title, fontsize=9)
    figure.savefig(path)


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
    width = max(part.shape[2] for part in parts)
    write_png(path, torch.cat([pad(part, (0, width - part.shape[2]), value=1.0) for part in parts], dim=1))
