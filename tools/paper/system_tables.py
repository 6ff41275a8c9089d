"""Tables 2, 3 and 4: TIM beside the compared systems, trained for equal time with every seed, by the same measures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

from paper.cached_runs import checkpoint_of
from paper.charts import draw_bars
from paper.equal_time import trained_for
from paper.page_rows import NONE, PageRows, Row, is_of_now, joined, page_rows, training_times
from paper.pages import Stale, consistency_of_seeds, folder_of, spread, table, with_other_tasks, write_target
from paper.row_figures import all_figures, further_tables
from paper.run_conditions import trained_at
from paper.sample_cost import ABOUT as COST_ABOUT
from paper.sample_cost import HEADER as COST
from paper.sample_cost import cost_cells
from paper.set_figures import set_conditions
from paper.system_sheet import ABOUT as SHEET_ABOUT
from paper.system_sheet import draw_systems
from paper.systems import System
from paper.workbench import Workbench
from tim_plugin.metrics.sample_measures import FWV_SIGMAS
from tim_plugin.utils.errors import TimError

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
AS_COSTLY = "with about as many multiplications a sample as TIM's"
EQUAL_TIME = """Iterations are such that all are trained for about the time of TIM's (minutes); +- is the deviation over
training seeds. A task's second table has the systems in sizes with which a sample takes about as many multiplications
as TIM's; what is not TIM or a tower has another width or depth in it than in the first."""
TRAINING = ("seeds", "iterations", "seconds an iteration", "minutes", "of TIM's time")
Measured = dict[str, dict[str, Row]]


class Chart(NamedTuple):
    """What a table's picture shows: its label, and a figure of one seed."""

    label: str
    value: Callable[[Row], float]


def compare(bench: Workbench, tasks: Sequence[str] = TASKS, had: Mapping[str, PageRows] | None = None) -> Measured:
    """Train what is missing and return each system's row by task and name: figures by seed, and its training.

    Args:
        bench: Preset, data, features, machine.
        tasks: Of :data:`TASKS`.
        had: By task, what a page has already: its runs are neither trained nor measured, and come first.

    Raises:
        TimError: The data or the features cannot be read, or only finished runs are wanted and TIM has none.
    """
    had = had or {}
    times = {task: training_times(bench, task, had.get(task, NONE)) for task in tasks}
    runs = {
        (task, one.name, seed): bench.run(trained_for(bench, one, times[task].iterations[one.name]), seed)
        for seed in bench.preset.seeds
        for task in tasks
        for one in bench.preset.systems[task]
        if one.trained
    }
    known = {run: figures for one in had.values() for run, figures in one.by_run().items()}
    paths = bench.checkpoints({key: run for key, run in runs.items() if run.name() not in known})
    result: Measured = {task: {} for task in tasks}
    for task in tasks:
        for one in bench.preset.systems[task]:
            training = times[task].training(one.name) if one.trained else None
            found = list(had.get(task, NONE).seeds_of(one.name))
            found += [
                {**all_figures(bench, one, paths[key]), "seed": key[-1], "run": runs[key].name()}
                for key in ((task, one.name, seed) for seed in bench.preset.seeds)
                if key in paths
            ]
            if not one.trained:
                found = [{**all_figures(bench, one, None), "seed": None, "run": None}]
            elif not found and one == bench.preset.tim(task):
                raise TimError(f"--finished: no run of TIM in {task} is finished; without it they are trained")
            if found:
                result[task][one.name] = {"seeds": sorted(found, key=lambda row: row["seed"]), "training": training}
    return result


def reproduce_table2(bench: Workbench, tasks: Sequence[str] = TASKS) -> dict[str, Any]:
    """Write ``table2.{json,md,png}``: the distance between the sets of samples and of ground truths."""
    frechet, best = bench.extractor.frechet, f"best_of_{bench.preset.num_samples}"
    header = ["system", "paper: FID", f"{frechet}, all samples", "mean distance"]
    header += [best.replace("_", " "), "PSNR, dB", "precision, recall", "consistency: mean, worst"]

    def cells(task: str, system: System, seeds: Sequence[Row]) -> list[str]:
        paper = PAPER_FID[task].get(system.name)
        return [
            "-" if paper is None else f"{paper:.2f} {PAPER_OF_ANOTHER.get(system.name, '')}".rstrip(),
            spread([row[frechet] for row in seeds]),
            spread([row["lpips"]["mean"] for row in seeds]),
            spread([row["lpips"][best] for row in seeds]) if system.several else "-",
            spread([row["psnr"]["mean"] for row in seeds]),
            ", ".join(spread([row["prc"][which] for row in seeds]) for which in ("precision", "recall")),
            consistency_of_seeds(seeds),
        ]

    title = "Table 2: distance between samples and ground truths"
    chart = Chart(f"{frechet}, all samples (lower is better)", lambda row: row[frechet])
    return _write(bench, tasks, "table2", title, header, cells, chart)


def reproduce_table3(bench: Workbench, tasks: Sequence[str] = TASKS) -> dict[str, Any]:
    """Write ``table3.{json,md,png}``: faithfulness-weighted variance of the systems that sample."""
    header = ["system", *(f"paper: sigma {one}" for one in FWV_SIGMAS), *(f"sigma {one}" for one in FWV_SIGMAS)]

    def cells(task: str, system: System, seeds: Sequence[Row]) -> list[str] | None:
        if not system.several:
            return None
        paper = PAPER_FWV[task].get(system.name)
        theirs = ["-"] * len(FWV_SIGMAS) if paper is None else [f"{one:.3g}" for one in paper]
        return [*theirs, *(spread([row["fwv"][str(one)] for row in seeds], ".3g") for one in FWV_SIGMAS)]

    title, sigma = "Table 3: faithfulness-weighted variance, higher is better", str(FWV_SIGMAS[0])
    chart = Chart(f"faithfulness-weighted variance, sigma {sigma} (higher is better)", lambda row: row["fwv"][sigma])
    return _write(bench, tasks, "table3", title, header, cells, chart)


def reproduce_table4(bench: Workbench, tasks: Sequence[str] = TASKS) -> dict[str, Any]:
    """Write ``table4.{json,md,png}``: the mean distance between two samples of one input."""
    header = ["system", "paper: LPIPS diversity", "diversity"]

    def cells(task: str, system: System, seeds: Sequence[Row]) -> list[str] | None:
        if not system.several:
            return None
        paper = PAPER_DIVERSITY[task].get(system.name)
        return ["-" if paper is None else f"{paper}", spread([row["lpips_diversity"] for row in seeds], ".4f")]

    title = "Table 4: diversity of samples, higher is more diverse"
    chart = Chart("mean distance between two samples (higher is more diverse)", lambda row: row["lpips_diversity"])
    return _write(bench, tasks, "table4", title, header, cells, chart)


def _training_cells(row: Row, tim: Row) -> list[str]:
    """Seeds, iterations and time; what is not trained has none."""
    if row["training"] is None:
        return ["-", "0", "-", "-", "-"]
    training = row["training"]
    seconds, minutes = training["seconds_an_iteration"], training["minutes"]
    ratio = minutes / tim["training"]["minutes"]
    shown = f"**{ratio:.2f}**" if abs(ratio - 1) > SAME_TIME else f"{ratio:.2f}"
    return [str(len(row["seeds"])), str(training["iterations"]), f"{seconds:.3f}", f"{minutes:.1f}", shown]


def _stale(bench: Workbench) -> Stale:
    """Whether a task's rows are of other runs than would be made now, or of systems that are there no more."""

    def stale(task: str, kept: Mapping[str, Row], conditions: Mapping[str, Any]) -> bool:
        systems = {one.name: one for one in bench.preset.systems.get(task, ())}
        return any(name not in systems or not is_of_now(bench, systems[name], row) for name, row in kept.items())

    return stale


def _write(
    bench: Workbench,
    tasks: Sequence[str],
    target: str,
    title: str,
    header: Sequence[str],
    cells: Callable[[str, System, Sequence[Row]], list[str] | None],
    chart: Chart,
) -> dict[str, Any]:
    folder = folder_of(bench.root, bench.preset.name)
    had = {task: page_rows(bench, folder, target, task) for task in tasks} if bench.adds else {}
    found = compare(bench, tasks, had)
    measured = {"tasks": found, "conditions": _conditions(bench, found, had)}
    content = with_other_tasks(folder, target, measured, TASKS, _stale(bench))
    page, bars = [f"# {title}", *(["", EQUAL_TIME] if bench.preset.equal_time else [])], {}
    for task, rows in content["tasks"].items():
        lines = {}
        for system in (one for one in bench.preset.systems[task] if one.name in rows):
            row, name = rows[system.name], system.name + (f" ({system.note})" if system.note else "")
            line = cells(task, system, row["seeds"])
            if line is not None:
                lines[system.name] = [
                    name,
                    *line,
                    *cost_cells(row["seeds"][0]),
                    *_training_cells(row, rows[bench.preset.tim(task).name]),
                ]
        bars[task] = {name: mean(chart.value(one) for one in rows[name]["seeds"]) for name in lines}
        page += _tables(bench, task, [*header, *COST, *TRAINING], lines, rows)
        if target == "table2":
            page += further_tables({name: rows[name]["seeds"] for name in lines})
            page += _sheet(bench, task, found.get(task), folder / f"{target}_{task}.png")
    page += ["", COST_ABOUT, "", f"![{chart.label}]({target}.png)"]
    draw_bars(bars, "TIM", chart.label, folder / f"{target}.png")
    write_target(folder, target, content, page)
    return content


def _sheet(bench: Workbench, task: str, measured: Mapping[str, Row] | None, path: Path) -> list[str]:
    """The lines of a task's samples, drawn anew if it was measured now."""
    if measured is not None:
        runs = {name: row["seeds"][0]["run"] for name, row in measured.items() if row["training"]}
        models = {name: checkpoint_of(bench.root / "experiments" / run) for name, run in runs.items()}
        if all(one.is_file() for one in models.values()):  # else the picture stays as it was where they were trained
            draw_systems(bench, task, models, path)
    return ["", f"![Samples]({path.name})", "", *SHEET_ABOUT.splitlines()] if path.is_file() else []


def _tables(
    bench: Workbench, task: str, header: Sequence[str], lines: Mapping[str, list[str]], rows: Mapping[str, Row]
) -> list[str]:
    """A task's tables: its systems as they are, and those that cost as much a sample as TIM; then what is missing."""
    shown = [one for one in bench.preset.systems[task] if one.name in lines]
    page = ["", f"## {task}", "", *table(header, [lines[one.name] for one in shown if one.in_time])]
    if not all(one.in_time for one in shown):
        as_costly = [lines[one.name] for one in shown if one.as_costly]
        page += ["", f"## {task}, {AS_COSTLY}", "", *table(header, as_costly)]
    missing = [one.name for one in bench.preset.systems[task] if one.name not in rows]
    return [*page, *(["", f"Not measured: {'; '.join(missing)}."] if missing else [])]


def _conditions(bench: Workbench, found: Measured, had: Mapping[str, PageRows]) -> dict[str, dict[str, Any]]:
    """What stands beside the figures of each task."""
    scale = bench.preset.fwv_scale
    variance = "mean over samples of exp(-d / (2 sigma^2)) times the distance to the mean sample; "
    variance += f"distances divided by {scale:g}, which brings them to LPIPS's size" if scale != 1 else "d as it is"
    shared = {
        **bench.conditions(),
        **set_conditions(bench),
        "faithfulness_weighted_variance": variance,
    }
    result = {}
    for task, rows in found.items():
        before = had.get(task, NONE)
        known = before.by_run()
        runs = [one["run"] for row in rows.values() for one in row["seeds"] if one["run"] and one["run"] not in known]
        now = {
            **shared,
            "training_seeds": ", ".join(map(str, _seeds(rows))),
            "training_time": training_times(bench, task, before).clock,
            **trained_at(bench.root, runs),
        }
        result[task] = joined(before.conditions, now)
    return result


def _seeds(rows: Mapping[str, Row]) -> list[int]:
    """Those of any row, which may be fewer or more than were asked for."""
    return sorted({one["seed"] for row in rows.values() if row["training"] for one in row["seeds"]})
