"""Table 5 and figure 9: what the parts of the method are worth, removed one after the other."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from paper.ablation_pictures import Samples, draw_samples, draw_variants, stack_samples
from paper.pages import Stale, folder_of, spread, table, with_other_tasks, write_target
from paper.parallel_runs import Run
from paper.presets import ABLATIONS
from paper.row_figures import all_figures, further_tables
from paper.run_conditions import trained_at
from paper.sample_cost import ABOUT as COST_ABOUT
from paper.sample_cost import HEADER as COST
from paper.sample_cost import cost_cells
from paper.set_figures import set_conditions
from paper.step_time import clock_of, kept_step_seconds
from paper.systems import System
from paper.workbench import SAMPLING_SEED, Workbench
from tim_plugin.degradations.base import Observed
from tim_plugin.imle.pyramid import condition_pyramid, target_pyramid
from tim_plugin.imle.search import search_by
from tim_plugin.inference.image_samples import sample_loader
from tim_plugin.options.schema import ImleSpec
from tim_plugin.options.values import build_spec
from tim_plugin.utils.trees import move

TASKS = ("sr16x", "decompression")
PAPER = {  # FID
    "sr16x": (16.75, 17.70, 18.58, 21.66, 22.51),
    "decompression": (72.75, 81.24, 84.57, 99.54, 102.82),
}
SEARCHED_INPUTS = 96
SEARCH_BATCH = 16
EQUAL_TIME = """At equal time the slower variants' checkpoint is the last one that was kept within the time of the
fastest, when their learning rate may not have fallen as far: it favours the fastest."""
SHOWN_INPUTS = 3
Variants = list[tuple[str, dict[str, Any]]]


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
    _write_figure_9(folder, pictures, measured["conditions"], content["tasks"])
    return content


def _write_figure_9(
    folder: Path, pictures: Mapping[str, Mapping[str, Samples]], conditions: Mapping[str, Any], tasks: Mapping[str, Any]
) -> None:
    """Write ``fig9.*`` with the samples that are given, and those of other tasks that the table still has."""
    for task, variants in pictures.items():
        draw_samples(variants, folder / f"fig9_{task}.png")
    samples = {"tasks": {task: f"fig9_{task}.png" for task in pictures}, "conditions": conditions}
    shown = with_other_tasks(folder, "fig9", samples, TASKS, lambda task, *_: task not in tasks)
    page = ["# Figure 9: samples as parts of the method are removed", ""]
    page += ["One input a row, each variant's first sample, seed 0; the last column is the ground truth."]
    page += ["[All tasks in one picture](fig9.png)."]
    for task, file in shown["tasks"].items():
        page += ["", f"## {task}", "", f"![Samples of each variant]({file})"]
    stack_samples(folder, shown["tasks"], folder / "fig9.png")
    write_target(folder, "fig9", shown, page)


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
            (name, seed): bench.run(system, seed, overrides)
            for seed in bench.preset.seeds
            for name, overrides in variants
        }
        paths = bench.checkpoints(runs)
        first = bench.preset.seeds[0]
        seconds = kept_step_seconds({name: runs[name, first] for name, _ in variants}, bench.root)
        content["tasks"][task] = _measured(bench, task, runs, paths, seconds)
        content["conditions"][task] = _conditions(bench, list(runs.values()))
        pictures[task] = {name: _samples(bench, task, paths[name, first]) for name, _ in variants}
    return content, pictures


def _conditions(bench: Workbench, runs: Sequence[Run]) -> dict[str, Any]:
    return {
        **bench.conditions(),
        **set_conditions(bench),
        "seeds": list(bench.preset.seeds),
        "seconds_an_iteration": clock_of(runs[0]),
        **trained_at(bench.root, [run.name() for run in runs]),
    }


def stale_variants(bench: Workbench, variants: Variants) -> Stale:
    """Return whether a task's figures, of :func:`measure_variants`, are of other runs than would be made now."""

    def stale(task: str, kept: Mapping[str, Any], conditions: Mapping[str, Any]) -> bool:
        system = bench.preset.tim(task)
        return {name: [row["run"] for row in one["equal_iterations"]] for name, one in kept.items()} != {
            name: [bench.run(system, seed, overrides).name() for seed in conditions["seeds"]]
            for name, overrides in variants
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
    run, result = next(iter(runs.values())), {}
    total, step = run.iterations(), int(run.options()["logger"]["save_checkpoint_freq"])
    for name in seconds:
        reached = _reached(total, min(seconds.values()), seconds[name], step)
        result[name] = {"seconds_an_iteration": seconds[name], "iterations": total, "iterations_at_equal_time": reached}
        for label, iteration in (("equal_iterations", total), ("equal_time", reached)):
            result[name][label] = [
                _figures(bench, task, runs[name, seed], _at(paths[name, seed], iteration, total))
                for seed in bench.preset.seeds
            ]
    return result


def _reached(total: int, fastest: float, seconds: float, step: int) -> int:
    """Return the last checkpoint, one every ``step`` iterations, in the time of ``total`` of the fastest variant."""
    checkpoints = int(total * fastest / seconds / step + 1e-9)  # or the fastest itself may lose one to rounding
    return min(max(checkpoints, 1) * step, total)


def _at(last: Path, iteration: int, total: int) -> Path:
    """The checkpoint of an iteration beside the last one."""
    return last if iteration == total else last.with_name(f"net_g_{iteration}.pth")


def _figures(bench: Workbench, task: str, run: Run, path: Path) -> dict[str, Any]:
    selected = _selected(bench, task, path, run)
    figures = all_figures(bench, bench.preset.tim(task), path)
    return {**figures, "selected_distance": selected, "run": path.parent.parent.name}


def _selected(bench: Workbench, task: str, checkpoint: Path, run: Run) -> float:
    """The last level's distance of what a variant's own search finds on images that were not trained on."""
    imle = build_spec(ImleSpec, run.options()["imle"])
    what = {"imle": dataclasses.asdict(imle), "spread_inputs": SEARCHED_INPUTS, "batch": SEARCH_BATCH}
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
    loader = DataLoader(bench.spread_images(system, SEARCHED_INPUTS), batch_size=SEARCH_BATCH)
    generator, found = torch.Generator(bench.device).manual_seed(0), []
    for batch in loader:
        observed = move(Observed(batch["lq"], batch.get("given", {})), bench.device)
        conditions = condition_pyramid(observed, tower.spec, tower.degradation)
        targets = target_pyramid(batch["gt"].to(bench.device), levels)
        selection = search(
            tower, bench.distance, conditions, targets, imle.samples(levels), generator, 4 * SEARCH_BATCH
        )
        found += selection.distances[:, -1].tolist()
    return sum(found) / len(found)


def _samples(bench: Workbench, task: str, checkpoint: Path) -> Samples:
    """Input, first sample and GT of a few measured images."""
    system = bench.preset.tim(task)
    loader = DataLoader(bench.spread_images(system, SHOWN_INPUTS))
    sampled = sample_loader(bench.network(system, checkpoint), loader, 1, SAMPLING_SEED, bench.device)
    return [(one.lq, one.samples[0], one.gt) for one, _ in sampled]


def variants_page(
    content: Mapping[str, Any],
    bench: Workbench,
    title: str,
    about: str,
    picture: str,
    paper: Mapping[str, Sequence[float]] | None = None,
) -> list[str]:
    """Return the page of :func:`measure_variants`, for each task a table at equal iterations and one at equal time."""
    frechet, lines = bench.extractor.frechet, [title, "", about, "", EQUAL_TIME]
    for task, variants in content["tasks"].items():
        for label, text in (("equal_iterations", "equal iterations"), ("equal_time", "equal time")):
            header = ["variant", *(["paper: FID"] if paper else []), frechet, "mean distance"]
            header += [f"best of {bench.preset.num_samples}", "diversity", "distance of the selected"]
            header += ["s/iteration", "iterations", *COST]
            rows = []
            for index, (name, one) in enumerate(variants.items()):
                theirs = [f"{paper[task][index]:.2f}"] if paper else []
                rows.append([name, *theirs, *_row(one, label, frechet, bench)])
            lines += ["", f"## {task}, {text}", "", *table(header, rows)]
            lines += further_tables({name: one[label] for name, one in variants.items()})
    return [*lines, "", COST_ABOUT, "", f"![Frechet distance by variant]({picture}.png)"]


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
        *cost_cells(figures[0]),
    ]
