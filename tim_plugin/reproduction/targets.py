"""From the command line to the targets: what ``tools/reproduce.py`` runs."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tim_plugin.errors import TimError, did_you_mean
from tim_plugin.inference import choose_device
from tim_plugin.reproduction import ablation, beyond, comparison, sample_figures
from tim_plugin.reproduction.figure1 import reproduce_figure1
from tim_plugin.reproduction.figure3 import reproduce_figure3
from tim_plugin.reproduction.presets import PRESETS
from tim_plugin.reproduction.shipped import TOWERS
from tim_plugin.reproduction.weights import make_weights
from tim_plugin.reproduction.workbench import Workbench

ALL = "all"
WEIGHTS = "weights"
Target = Callable[[Workbench, argparse.Namespace], Any]


def _over_tasks(function: Callable[[Workbench, Sequence[str]], Any], known: Sequence[str]) -> Target:
    def target(bench: Workbench, args: argparse.Namespace) -> Any:
        return function(bench, _tasks(args, known))

    return target


def _tasks(args: argparse.Namespace, known: Sequence[str]) -> Sequence[str]:
    if args.tasks is None or args.target == ALL:
        return known
    wanted = [name.strip() for name in args.tasks.split(",") if name.strip()]
    for name in wanted:
        if name not in known:
            raise TimError(f"--tasks {name}: is not one of {args.target}'s: {did_you_mean(name, known)}")
    return wanted


_ABLATION = _over_tasks(ablation.reproduce_table5, ablation.TASKS)  # table 5 and figure 9 in one
TARGETS: dict[str, Target] = {
    "fig3": lambda bench, args: reproduce_figure3(bench),
    "table5": _ABLATION,
    "fig9": _ABLATION,
    "table2": _over_tasks(comparison.reproduce_table2, comparison.TASKS),
    "table3": _over_tasks(comparison.reproduce_table3, comparison.TASKS),
    "table4": _over_tasks(comparison.reproduce_table4, comparison.TASKS),
    "fig6": lambda bench, args: sample_figures.reproduce_samples(bench, "fig6"),
    "fig7": lambda bench, args: sample_figures.reproduce_samples(bench, "fig7"),
    "fig8": lambda bench, args: sample_figures.reproduce_samples(bench, "fig8"),
    "beyond": _over_tasks(beyond.reproduce_beyond, beyond.TASKS),
    "fig1": lambda bench, args: reproduce_figure1(bench.root, bench.preset, args.mnist),
}


def reproduce(root: Path, args: argparse.Namespace) -> None:
    """Make a target, or all of them, and print its page; or make towers that the package holds.

    Args:
        root: The project's folder.
        args: Of ``tools/reproduce.py``.

    Raises:
        TimError: An argument is wrong, or data or weights are not there.
    """
    for name, value in (("--seeds", args.seeds), ("--jobs", args.jobs)):
        if value is not None and value < 1:
            raise TimError(f"{name} {value}: must be 1 or more")
    if args.data is None and args.target != "fig1":
        raise TimError(f"--data: {args.target} needs a folder of photographs that holds train and val")
    preset = PRESETS[args.preset]
    if args.seeds is not None:
        preset = dataclasses.replace(preset, seeds=tuple(range(args.seeds)))
    features = args.features or ("random" if preset.halve else "imagenet")
    bench = Workbench(root, preset, args.data or Path(), features, choose_device(args.device), args.jobs)
    if (args.target == WEIGHTS) != (args.name is not None):
        raise TimError(f"--name says which tower '{WEIGHTS}' makes, and only that needs it: {', '.join(TOWERS)}")
    if args.target == WEIGHTS:
        make_weights(bench, args.name)
        return
    made: set[Target] = set()
    for target in TARGETS if args.target == ALL else (args.target,):
        if TARGETS[target] not in made:
            TARGETS[target](bench, args)
        made.add(TARGETS[target])
        print((root / "docs" / "results" / preset.name / f"{target}.md").read_text(), flush=True)
