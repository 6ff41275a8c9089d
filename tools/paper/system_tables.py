"""Tables 2, 3 and 4: TIM beside the compared systems, trained as the preset says, by the same measures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from paper.charts import draw_bars
from paper.pages import Stale, consistency_cell, folder_of, table, with_other_tasks, write_target
from paper.parallel_runs import Run
from paper.presets import System
from paper.run_conditions import trained_at
from paper.sample_cost import ABOUT as COST_ABOUT
from paper.sample_cost import HEADER as COST
from paper.sample_cost import cost_cells
from paper.set_figures import all_figures, set_conditions, set_tables
from paper.step_time import clock_of, kept_step_seconds
from paper.workbench import Workbench
from tim_plugin.metrics.sample_measures import FWV_SIGMAS

TASKS = ("sr16x", "decompression", "colorization")
PAPER_FID = {
    "sr16x": {"TIM": 16.75, "cIMLE": 27.34, "RFB-ESRGAN (regression)": 19.56},
    "decompression": {"TIM": 72.75, "cIMLE": 100.48, "DnCNN": 109.38},
    "colorization": {
        "TIM": 33.19,
        "cIMLE": 36.38,
        "Zhang et al. 2016": 57.95,
        "Iizuka et al. 2016": 85.88,
        "Larsson et al. 2016": 47.44,
    },
}
PAPER_OF_ANOTHER = {"RFB-ESRGAN (regression)": "of the GAN-trained one"}  # what the paper measured in our row's place
PAPER_FWV = {
    "sr16x": {"TIM": (0.0572, 0.00586, 0.000344), "cIMLE": (0.0548, 0.00522, 0.000273)},
    "decompression": {"TIM": (0.0513, 0.00380, 0.000223), "cIMLE": (0.0493, 0.00314, 0.000132)},
    "colorization": {
        "TIM": (0.124, 0.0621, 0.0284),
        "cIMLE": (0.105, 0.0456, 0.0179),
        "Zhang et al. 2016": (0.0789, 0.0318, 0.0110),
    },
}
PAPER_DIVERSITY = {
    "sr16x": {"TIM": 0.180, "cIMLE": 0.168},
    "decompression": {"TIM": 0.276, "cIMLE": 0.236},
    "colorization": {"TIM": 0.0364, "cIMLE": 0.0334, "Zhang et al. 2016": 0.0108},
}
SAME_TIME = 0.1  # what differs from TIM's training time by a larger share stands out
Row = Mapping[str, Any]
Measured = dict[str, dict[str, Row]]


class Chart(NamedTuple):
    """What a table's picture shows: its label, and a row's figure."""

    label: str
    value: Callable[[Row], float]


def compare(bench: Workbench, tasks: Sequence[str] = TASKS) -> Measured:
    """Train what is missing and return each system's figures by task and name.

    Args:
        bench: Preset, data, features, machine.
        tasks: Of :data:`TASKS`.

    Raises:
        TimError: The data or the features cannot be read.
    """
    seed = bench.preset.seeds[0]
    runs = {
        task: {one.name: bench.run(one, seed) for one in bench.preset.systems[task] if one.trained} for task in tasks
    }
    trained = [(task, name) for task in tasks for name in runs[task]]
    paths = dict(zip(trained, bench.train([runs[task][name] for task, name in trained]), strict=True))
    result: Measured = {}
    for task in tasks:
        seconds = kept_step_seconds(runs[task], bench.root)
        training = {name: _training(run, seconds[name]) for name, run in runs[task].items()}
        result[task] = {
            one.name: _row(bench, one, paths.get((task, one.name)), training.get(one.name))
            for one in bench.preset.systems[task]
        }
    return result


def _row(bench: Workbench, system: System, path: Path | None, training: dict[str, float] | None) -> Row:
    run = None if path is None else path.parent.parent.name
    return {**all_figures(bench, system, path), "run": run, "training": training, "note": system.note}


def _training(run: Run, seconds: float) -> dict[str, float]:
    iterations = run.iterations()
    return {"iterations": iterations, "seconds_an_iteration": seconds, "minutes": iterations * seconds / 60}


def reproduce_table2(bench: Workbench, tasks: Sequence[str] = TASKS) -> dict[str, Any]:
    """Write ``table2.{json,md,png}``: the distance between the sets of samples and of ground truths."""
    frechet, best = bench.extractor.frechet, f"best_of_{bench.preset.num_samples}"
    header = ["system", "paper: FID", f"{frechet}, all samples", "mean distance"]
    header += [best.replace("_", " "), "PSNR, dB", "precision, recall", "consistency: mean, worst"]
    header += [*COST, "iterations", "seconds an iteration", "minutes", "of TIM's time"]

    def cells(task: str, system: System, row: Row, tim: Row) -> list[str]:
        paper = PAPER_FID[task].get(system.name)
        return [
            "-" if paper is None else f"{paper:.2f} {PAPER_OF_ANOTHER.get(system.name, '')}".rstrip(),
            f"{row[frechet]:.3f}",
            f"{row['lpips']['mean']:.3f}",
            f"{row['lpips'][best]:.3f}" if system.several else "-",
            f"{row['psnr']['mean']:.2f}",
            f"{row['prc']['precision']:.3f}, {row['prc']['recall']:.3f}",
            consistency_cell(row),
            *cost_cells(row),
            *_training_cells(row, tim),
        ]

    title = "Table 2: distance between samples and ground truths"
    chart = Chart(f"{frechet}, all samples (lower is better)", lambda row: row[frechet])
    return _write(bench, tasks, "table2", title, header, cells, chart)


def reproduce_table3(bench: Workbench, tasks: Sequence[str] = TASKS) -> dict[str, Any]:
    """Write ``table3.{json,md,png}``: faithfulness-weighted variance of the systems that sample."""
    header = ["system", *(f"paper: sigma {one}" for one in FWV_SIGMAS), *(f"sigma {one}" for one in FWV_SIGMAS), *COST]

    def cells(task: str, system: System, row: Row, tim: Row) -> list[str] | None:
        if not system.several:
            return None
        paper = PAPER_FWV[task].get(system.name)
        theirs = ["-"] * len(FWV_SIGMAS) if paper is None else [f"{one:.3g}" for one in paper]
        return [*theirs, *(f"{row['fwv'][str(one)]:.3g}" for one in FWV_SIGMAS), *cost_cells(row)]

    title, sigma = "Table 3: faithfulness-weighted variance, higher is better", str(FWV_SIGMAS[0])
    chart = Chart(f"faithfulness-weighted variance, sigma {sigma} (higher is better)", lambda row: row["fwv"][sigma])
    return _write(bench, tasks, "table3", title, header, cells, chart)


def reproduce_table4(bench: Workbench, tasks: Sequence[str] = TASKS) -> dict[str, Any]:
    """Write ``table4.{json,md,png}``: the mean distance between two samples of one input."""
    header = ["system", "paper: LPIPS diversity", "diversity", *COST]

    def cells(task: str, system: System, row: Row, tim: Row) -> list[str] | None:
        if not system.several:
            return None
        paper = PAPER_DIVERSITY[task].get(system.name)
        return ["-" if paper is None else f"{paper}", f"{row['lpips_diversity']:.4f}", *cost_cells(row)]

    title = "Table 4: diversity of samples, higher is more diverse"
    chart = Chart("mean distance between two samples (higher is more diverse)", lambda row: row["lpips_diversity"])
    return _write(bench, tasks, "table4", title, header, cells, chart)


def _training_cells(row: Row, tim: Row) -> list[str]:
    """Iterations and time; rows of before this time was measured have none."""
    training = row["training"] or {"iterations": 0}
    if "seconds_an_iteration" not in training:
        return [str(training["iterations"]), "-", "-", "-"]
    minutes = training["minutes"]
    ratio = minutes / tim["training"]["minutes"]
    shown = f"**{ratio:.2f}**" if abs(ratio - 1) > SAME_TIME else f"{ratio:.2f}"
    return [str(training["iterations"]), f"{training['seconds_an_iteration']:.3f}", f"{minutes:.1f}", shown]


def _stale(bench: Workbench) -> Stale:
    """Whether a task's rows are of other runs than would be made now."""

    def stale(task: str, kept: Mapping[str, Row], conditions: Mapping[str, Any]) -> bool:
        seed = conditions["training_seed"]
        systems = bench.preset.systems.get(task, ())
        return {name: row["run"] for name, row in kept.items()} != {
            one.name: bench.run(one, seed).name() if one.trained else None for one in systems
        }

    return stale


def _write(
    bench: Workbench,
    tasks: Sequence[str],
    target: str,
    title: str,
    header: Sequence[str],
    cells: Callable[[str, System, Row, Row], list[str] | None],
    chart: Chart,
) -> dict[str, Any]:
    found = compare(bench, tasks)
    measured = {"tasks": found, "conditions": _conditions(bench, found)}
    folder = folder_of(bench.root, bench.preset.name)
    content = with_other_tasks(folder, target, measured, TASKS, _stale(bench))
    page, bars = [f"# {title}"], {}
    for task, systems in content["tasks"].items():
        rows, tim = {}, bench.preset.tim(task).name
        for system in (one for one in bench.preset.systems[task] if one.name in systems):
            line = cells(task, system, systems[system.name], systems[tim])
            if line is not None:
                rows[system.name] = [system.name + (f" ({system.note})" if system.note else ""), *line]
        bars[task] = {name: chart.value(systems[name]) for name in rows}
        page += ["", f"## {task}", "", *table(header, rows.values())]
        page += set_tables({name: [systems[name]] for name in rows}) if target == "table2" else []
    page += ["", COST_ABOUT, "", f"![{chart.label}]({target}.png)"]
    draw_bars(bars, "TIM", chart.label, folder / f"{target}.png")
    write_target(folder, target, content, page)
    return content


def _conditions(bench: Workbench, found: Measured) -> dict[str, dict[str, Any]]:
    """What stands beside the figures of each task."""
    scale, seed = bench.preset.fwv_scale, bench.preset.seeds[0]
    variance = "mean over samples of exp(-d / (2 sigma^2)) times the distance to the mean sample; "
    variance += f"distances divided by {scale:g}, which brings them to LPIPS's size" if scale != 1 else "d as it is"
    shared = {
        **bench.conditions(),
        **set_conditions(bench),
        "training_seed": seed,
        "faithfulness_weighted_variance": variance,
    }
    return {
        task: {
            **shared,
            "training_time": clock_of(bench.run(bench.preset.tim(task), seed)),
            **trained_at(bench.root, [row["run"] for row in rows.values() if row["run"] is not None]),
        }
        for task, rows in found.items()
    }
