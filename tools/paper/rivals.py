"""TIM beside what an expert would pick today: of about its size, trained on the same tiles for the same time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from paper.charts import draw_bars
from paper.equal_time import Times, equal_time, trained_for
from paper.pages import consistency_cell, folder_of, table, with_other_tasks, write_target
from paper.presets import GPU_SIZES
from paper.row_figures import all_figures, further_tables
from paper.run_conditions import trained_at
from paper.sample_cost import ABOUT as COST_ABOUT
from paper.sample_cost import HEADER as COST
from paper.sample_cost import cost_cells
from paper.set_figures import set_conditions
from paper.small_systems import SMALL_SIZES
from paper.systems import EVERY_LEVEL, TEXT, System, length_of
from paper.workbench import Workbench

TASKS = ("sr16x", "colorization")
TIM = "TIM"
Ways = Mapping[str, Mapping[str, Any]]
ONE_WAY: Ways = {"": {}}
TITLE = "# TIM beside what an expert would pick today"
ABOUT = (
    """All are trained on the same tiles for the time that TIM's iterations take. An evaluation is one pass of the
network, or of one of its two where it has a mean and a velocity. Sets of one sample an input (regression) do not
compare with those of several by the Frechet distance. """
    + COST_ABOUT
)


class Rival(NamedTuple):
    """A system that is trained once, and sampled in one way or more.

    Attributes:
        name: Of the system.
        option_file: In ``options/baselines``, with ``{task}``; empty: TIM's own file.
        overrides: Of the option file's options.
        ways: What ``network_g`` has in sampling, by what the way adds to the name.
        several: Whether it gives different samples for one input.
    """

    name: str
    option_file: str = ""
    overrides: Mapping[str, Any] = {}
    ways: Ways = ONE_WAY
    several: bool = True


PROJECT = {"network_g:consistency": "project"}
PROJECTED = {"": {}, ", projected": {"consistency": "project"}}
FLOW_WAYS = {f", {n} steps{what}": {"steps": n, **change} for what, change in PROJECTED.items() for n in (1, 5, 25)}
DIFFUSION_WAYS = {f", {n} steps": {"steps": n} for n in (5, 18)}


def _rivals(small_pair: Mapping[str, Any], single: Mapping[str, Any], gan: Mapping[str, Any]) -> tuple[Rival, ...]:
    """The rivals; ``small_pair`` is of networks that have two U-Nets, ``single`` of those that have one."""
    return (
        Rival(TIM),
        Rival("TIM + consistency", "", PROJECT),
        Rival(TEXT, "", EVERY_LEVEL),
        Rival(f"{TEXT} + consistency", "", {**EVERY_LEVEL, **PROJECT}),
        Rival("energy score (the tower)", "", {"model_type": "EnergyScoreModel", "imle": None}),
        Rival("flow from the mean", "train_flow_{task}.yml", small_pair, FLOW_WAYS),
        Rival("diffusion (EDM)", "train_edm_{task}.yml", single, DIFFUSION_WAYS),
        Rival("rcGAN", "train_rcgan_{task}.yml", gan),
        Rival("regression (the mean)", "train_unet_{task}.yml", single, several=False),
    )


def _sized(sizes: Mapping[str, Any], widths: Sequence[int], lr: float) -> dict[str, Any]:
    return {
        **sizes,
        "network_g:widths": list(widths),
        "train:optim_g:lr": lr,
        "train:scheduler:gamma": 0.3,
    }


RIVALS: dict[str, tuple[Rival, ...]] = {  # by preset; the first is what the others are compared with
    "small": _rivals(
        _sized(SMALL_SIZES, [16, 32, 48, 72], 1e-3),
        _sized(SMALL_SIZES, [16, 32, 64, 112], 1e-3),
        _sized(SMALL_SIZES, [16, 32, 64, 112], 3e-4),
    ),
    "gpu": _rivals(
        _sized(GPU_SIZES, [64, 128, 192, 384], 3e-4),
        _sized(GPU_SIZES, [64, 128, 256, 512], 3e-4),
        _sized(GPU_SIZES, [64, 128, 256, 512], 1e-4),
    ),
    "paper": _rivals({}, {}, {}),
}


def reproduce_rivals(bench: Workbench, tasks: Sequence[str] = TASKS) -> dict[str, Any]:
    """Train and measure every rival; write ``rivals.{json,md,png}``.

    Args:
        bench: Preset, data, features, machine.
        tasks: Of :data:`TASKS`.

    Returns:
        What ``rivals.json`` holds.

    Raises:
        TimError: The data or the features cannot be read.
    """
    found = {task: _measured(bench, task) for task in tasks}
    content = {"tasks": found, "conditions": {task: _conditions(bench, task, rows) for task, rows in found.items()}}
    folder = folder_of(bench.root, bench.preset.name)
    content = with_other_tasks(
        folder, "rivals", content, TASKS, lambda task, rows, conditions: _is_stale(bench, task, rows)
    )
    write_target(folder, "rivals", content, _page(bench, content["tasks"]))
    frechet = bench.extractor.frechet
    bars = {task: {name: row[frechet] for name, row in rows.items()} for task, rows in content["tasks"].items()}
    draw_bars(bars, TIM, _chart_label(bench), folder / "rivals.png")
    return content


def systems(bench: Workbench, task: str) -> dict[str, System]:
    """Return a task's rivals by name, each for as many iterations as TIM."""
    tim = bench.preset.tim(task)
    length = length_of(bench.run(tim, bench.preset.seeds[0]).iterations())
    found = {}
    for rival in RIVALS[bench.preset.name]:
        file = f"options/baselines/{rival.option_file.format(task=task)}" if rival.option_file else tim.option_file
        overrides = {**rival.overrides, **length} if rival.option_file else {**tim.overrides, **rival.overrides}
        found[rival.name] = System(rival.name, file, overrides, several=rival.several)
    return found


def _times(bench: Workbench, task: str) -> Times:
    return equal_time(bench, f"rivals_{task}", systems(bench, task))


def _measured(bench: Workbench, task: str) -> dict[str, dict[str, Any]]:
    """Figures and costs by rival and way of sampling, of runs that take equal time."""
    times, seed = _times(bench, task), bench.preset.seeds[0]
    trained = {name: trained_for(bench, one, times.iterations[name]) for name, one in systems(bench, task).items()}
    runs = {name: bench.run(system, seed) for name, system in trained.items()}
    paths = bench.checkpoints(runs)
    rows = {}
    for rival in RIVALS[bench.preset.name]:
        for way, sampling in rival.ways.items():
            system = replace(trained[rival.name], sampling=sampling)
            figures = all_figures(bench, system, paths[rival.name])
            names = {"rival": rival.name, "run": runs[rival.name].name()}
            rows[rival.name + way] = {**figures, "training": times.training(rival.name), **names}
    return rows


def _is_stale(bench: Workbench, task: str, rows: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether a task's rows are of other runs, or of other rivals, than would be made now."""
    names = [rival.name + way for rival in RIVALS[bench.preset.name] for way in rival.ways]
    if list(rows) != names:
        return True
    known, seed = systems(bench, task), bench.preset.seeds[0]
    return any(
        bench.run(trained_for(bench, known[row["rival"]], row["training"]["iterations"]), seed).name() != row["run"]
        for row in rows.values()
    )


def _conditions(bench: Workbench, task: str, rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {
        **bench.conditions(),
        **set_conditions(bench),
        "training_seed": bench.preset.seeds[0],
        "training_time": _times(bench, task).clock,
        **trained_at(bench.root, [row["run"] for row in rows.values()]),
    }


def _chart_label(bench: Workbench) -> str:
    return f"{bench.extractor.frechet}, all samples (lower is better)"


def _page(bench: Workbench, tasks: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[str]:
    header = ["system", bench.extractor.frechet, "mean distance", f"best of {bench.preset.num_samples}", "diversity"]
    header += ["PSNR, dB", "precision, recall", "consistency: mean, worst", "evaluations a sample"]
    header += [*COST, "iterations", "minutes"]
    page = [TITLE, "", *ABOUT.splitlines()]
    for task, rows in tasks.items():
        lines = ([name, *_cells(bench, row)] for name, row in rows.items())
        page += [
            "",
            f"## {task}",
            "",
            *table(header, lines),
            *further_tables({name: [row] for name, row in rows.items()}),
        ]
    return [*page, "", f"![{_chart_label(bench)}](rivals.png)"]


def _cells(bench: Workbench, row: Mapping[str, Any]) -> list[str]:
    best, training = f"best_of_{bench.preset.num_samples}", row["training"]
    return [
        f"{row[bench.extractor.frechet]:.1f}",
        f"{row['lpips']['mean']:.3f}",
        f"{row['lpips'][best]:.3f}" if best in row["lpips"] else "-",
        f"{row['lpips_diversity']:.3f}" if "lpips_diversity" in row else "-",
        f"{row['psnr']['mean']:.2f}",
        f"{row['prc']['precision']:.3f}, {row['prc']['recall']:.3f}",
        consistency_cell(row),
        str(row["cost"]["evaluations"]),
        *cost_cells(row),
        str(training["iterations"]),
        f"{training['minutes']:.1f}",
    ]
