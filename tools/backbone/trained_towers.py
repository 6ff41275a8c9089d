"""What a backbone is for: the same small tower, trained by random features, by ours, and by the teacher's."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paper.parallel_runs import Run
from paper.presets import SMALL
from paper.systems import System, length_of
from paper.workbench import Workbench
from tim_plugin.losses.backbones import TIM_SMALL

TASK = "sr16x"
SEED = 0
RANDOM, OURS, TEACHER = "random", TIM_SMALL, "teacher"


def compare_towers(root: Path, data: Path, teacher: Path, weights: Path, iters: int, jobs: int = 1) -> dict[str, Any]:
    """Train the three towers (what is trained already is kept) and judge all by the teacher.

    Args:
        root: The project's folder.
        data: Folder with ``train`` and ``val``, whose photographs are halved.
        teacher: State dict of its network.
        weights: File of ours.
        iters: Steps of each.
        jobs: Towers that are trained at a time.

    Returns:
        ``figures`` of each tower, and ``closed``: by how much of the gap between random and teacher ours is better
        than random, for each figure.

    Raises:
        TimError: Data or weights are not there.
    """
    bench = _bench(root, data, teacher, iters, jobs)
    system = bench.preset.tim(TASK)
    runs = tower_runs(bench, system, weights)
    checkpoints = bench.checkpoints(runs)
    found = {name: bench.figures(system, checkpoint) for name, checkpoint in checkpoints.items()}
    figures = {name: _figures(one, bench.preset.num_samples) for name, one in found.items()}
    return {
        "figures": figures,
        "closed": {
            figure: gap_closed(*(figures[name][figure] for name in (RANDOM, OURS, TEACHER))) for figure in figures[OURS]
        },
        "conditions": {**bench.conditions(), "iterations": iters, "option_file": system.option_file, "seed": SEED},
    }


def tower_runs(bench: Workbench, system: System, weights: Path) -> dict[str, Run]:
    """Return the three training runs, which differ in the distance alone."""
    run = bench.run(system, SEED)
    changes = {
        RANDOM: {"backbone": TIM_SMALL, "weights": "random", "calibration": "none"},
        OURS: {"backbone": TIM_SMALL, "weights": str(weights.resolve()), "calibration": "bundled"},
        TEACHER: {},
    }
    return {
        name: run._replace(
            overrides={**run.overrides, **{f"train:perceptual_opt:{key}": value for key, value in one.items()}},
            label=f"backbone_{name}",
        )
        for name, one in changes.items()
    }


def gap_closed(random: float, ours: float, teacher: float) -> float:
    """Return how far ours is on the way from random (0) to the teacher (1), of a figure that is better when lower."""
    return (random - ours) / (random - teacher)


def _bench(root: Path, data: Path, teacher: Path, iters: int, jobs: int = 1) -> Workbench:
    overrides = {"network_g:consistency": "project", **length_of(iters)}
    system = System("TIM", SMALL.tim(TASK).option_file, overrides)
    return Workbench(root, dataclasses.replace(SMALL, systems={TASK: (system,)}), data, str(teacher), jobs=jobs)


def _figures(found: Mapping[str, Any], num_samples: int) -> dict[str, float]:
    """What is compared, each better when lower."""
    distance = found["lpips"]
    return {
        "mean distance": distance["mean"],
        f"best of {num_samples}": distance[f"best_of_{num_samples}"],
        "Frechet": found["frechet_squeezenet"],
    }
