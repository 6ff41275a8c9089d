"""From the command line to the targets: what ``tools/reproduce.py`` runs."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from paper import ablation, beyond, calibration, latent_shares, networks, rivals, sample_figures
from paper import system_tables as comparison
from paper.figure1 import TASK as FIGURE_1_TASK
from paper.figure1 import other_digits, reproduce_figure1
from paper.figure3 import TASK as FIGURE_3_TASK
from paper.figure3 import reproduce_figure3
from paper.pages import folder_of
from paper.presets import PRESETS
from paper.workbench import Workbench
from tim_plugin.inference.devices import choose_device
from tim_plugin.utils.errors import TimError, did_you_mean
from towers.make import make_weights
from towers.recipes import TOWERS

ALL = "all"
WEIGHTS = "weights"  # the earlier name of tools/make_weights.py


class Target(NamedTuple):
    """What can be made.

    Attributes:
        make: Makes it of the workbench, the tasks that are asked for and ``--mnist``.
        tasks: That it has.
        sets: Whether it compares sets of images, which needs trained features.
        in_part: Whether it can be made of the runs that are finished.
    """

    make: Callable[[Workbench, Sequence[str], Path | None], Any]
    tasks: Sequence[str]
    sets: bool = True
    in_part: bool = False


def _samples_of(figure: str) -> Target:
    return Target(
        lambda bench, tasks, mnist: sample_figures.reproduce_samples(bench, figure),
        (sample_figures.FIGURES[figure],),
        sets=False,
    )


def _compared(make: Callable[[Workbench, Sequence[str]], Any]) -> Target:
    return Target(lambda bench, tasks, mnist: make(bench, tasks), comparison.TASKS, in_part=True)


_ABLATION = Target(lambda bench, tasks, mnist: ablation.reproduce_table5(bench, tasks), ablation.TASKS)
TARGETS: dict[str, Target] = {
    "fig3": Target(lambda bench, tasks, mnist: reproduce_figure3(bench), (FIGURE_3_TASK,), sets=False),
    "table5": _ABLATION,  # table 5 and figure 9 in one
    "fig9": _ABLATION,
    "table2": Target(
        lambda bench, tasks, mnist: comparison.reproduce_table2(bench, tasks), comparison.TASKS, in_part=True
    ),
    "table3": Target(
        lambda bench, tasks, mnist: comparison.reproduce_table3(bench, tasks), comparison.TASKS, in_part=True
    ),
    "table4": Target(
        lambda bench, tasks, mnist: comparison.reproduce_table4(bench, tasks), comparison.TASKS, in_part=True
    ),
    "fig6": _samples_of("fig6"),
    "fig7": _samples_of("fig7"),
    "fig8": _samples_of("fig8"),
    "beyond": Target(lambda bench, tasks, mnist: beyond.reproduce_beyond(bench, tasks), beyond.TASKS),
    "networks": Target(lambda bench, tasks, mnist: networks.reproduce_networks(bench, tasks), networks.TASKS),
    "rivals": Target(lambda bench, tasks, mnist: rivals.reproduce_rivals(bench, tasks), rivals.TASKS),
    "calibration": Target(
        lambda bench, tasks, mnist: calibration.reproduce_calibration(bench, tasks), calibration.TASKS, sets=False
    ),
    "latents": Target(
        lambda bench, tasks, mnist: latent_shares.reproduce_latents(bench, tasks), latent_shares.TASKS, sets=False
    ),
    "fig1": Target(
        lambda bench, tasks, mnist: reproduce_figure1(bench.root, bench.preset, mnist), (FIGURE_1_TASK,), sets=False
    ),
}


def _asked_for(target: str, tasks: str | None) -> dict[str, Sequence[str]]:
    """Return what is to be made, with the tasks of each; of ``all``, what has one of the named tasks."""
    chosen = TARGETS if target == ALL else {target: TARGETS[target]}
    known = list(dict.fromkeys(task for one in chosen.values() for task in one.tasks))
    if tasks is None:
        return {name: one.tasks for name, one in chosen.items()}
    wanted = [name.strip() for name in tasks.split(",") if name.strip()]
    if not wanted:
        raise TimError(f"--tasks: names no task; {target} has {', '.join(known)}")
    for name in wanted:
        if name not in known:
            raise TimError(f"--tasks {name}: is not one of {target}'s: {did_you_mean(name, known)}")
    named = {name: [task for task in one.tasks if task in wanted] for name, one in chosen.items()}
    return {name: found for name, found in named.items() if found}


def reproduce(root: Path, args: argparse.Namespace) -> None:
    """Make a target, or all of them, and print its page.

    Args:
        root: The project's folder.
        args: Of ``tools/reproduce.py``.

    Raises:
        TimError: An argument is wrong, or data or weights are not there.
    """
    _check(args)
    bench = _workbench(root, args)
    if args.target == WEIGHTS:
        print("tools/reproduce.py weights is now called tools/make_weights.py", file=sys.stderr)
        make_weights(bench, args.name)
        return
    asked = _asked_for(args.target, args.tasks)
    _need(bench, [TARGETS[name] for name in asked])
    made: list[Target] = []
    for name, tasks in asked.items():
        if TARGETS[name] not in made:  # a table and a figure may be one target
            _make(TARGETS[name], bench, tasks, args)
        made.append(TARGETS[name])
        page = folder_of(root, bench.preset.name) / f"{name}.md"
        print(f"{page.read_text()}\nwritten: {page}, {page.with_suffix('.json')}", flush=True)


def _make(target: Target, bench: Workbench, tasks: Sequence[str], args: argparse.Namespace) -> None:
    if args.target == ALL and FIGURE_1_TASK in tasks:
        kept = other_digits(bench.root, bench.preset, args.mnist)
        if kept is not None:
            print(f"{kept}; it stays as it is", file=sys.stderr)
            return
    target.make(bench, tasks, args.mnist)


def _check(args: argparse.Namespace) -> None:
    for name, value in (("--seeds", args.seeds), ("--jobs", args.jobs)):
        if value is not None and value < 1:
            raise TimError(f"{name} {value}: must be 1 or more")
    in_part = args.target in TARGETS and TARGETS[args.target].in_part
    for name, value in (("--finished", args.finished), ("--add", args.add)):
        if value and not in_part:
            have = ", ".join(name for name, one in TARGETS.items() if one.in_part)
            raise TimError(f"{name}: {args.target} needs all of its runs; it goes with {have}")
    if args.data is None and args.target != "fig1":
        raise TimError(f"--data: {args.target} needs a folder of photographs that holds train and val")
    if args.target == "fig1" and args.device is not None and args.device.split(":")[0] != "cpu":
        raise TimError(
            f"--device {args.device}: fig1 is trained and measured on the CPU, for which it is small: leave it out"
        )
    if (args.target == WEIGHTS) != (args.name is not None):
        raise TimError(f"--name says which tower '{WEIGHTS}' makes, and only that needs it: {', '.join(TOWERS)}")
    if args.target == WEIGHTS and args.tasks is not None:
        raise TimError(f"--tasks: {WEIGHTS} has none; --name says which tower is made")


def _workbench(root: Path, args: argparse.Namespace) -> Workbench:
    preset = PRESETS[args.preset]
    if args.seeds is not None:
        preset = dataclasses.replace(preset, seeds=tuple(range(args.seeds)))
    features = args.features or ("random" if preset.halve else "imagenet")
    device = choose_device(args.device)
    return Workbench(root, preset, args.data or Path(), features, device, args.jobs, args.finished, args.add)


def _need(bench: Workbench, targets: Sequence[Target]) -> None:
    """Look for what the targets read: hours of training must not end at a missing file."""
    if all(FIGURE_1_TASK in one.tasks for one in targets):
        return
    _ = bench.folders, bench.distance
    if any(one.sets for one in targets):
        _ = bench.extractor
