"""What do a tower's latents decide? The variance that each level's style, and its noise maps, give by themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from basicsr.data import build_dataset
from torch import Tensor, nn

from paper.cached_runs import content_of
from paper.calibration import TASKS, TOWER_OF, section_of_tiles
from paper.pages import folder_of, table, with_other_tasks, write_target
from paper.run_conditions import machine
from paper.workbench import SAMPLING_SEED, Workbench, evenly_spread
from tim_plugin.archs.folded import folded
from tim_plugin.archs.levels import all_levels
from tim_plugin.degradations.base import Observed
from tim_plugin.imle.latents import Latents, LevelLatent
from tim_plugin.imle.types import Condition, coarsest
from tim_plugin.inference import towers as pretrained
from tim_plugin.inference.image_samples import conditions_of
from tim_plugin.utils.trees import map_tensors

INPUTS = 40
DRAWS = 8
PARTS = ("style", "noise")
ALL = "all"
ABOUT = f"""Each row: the variance of the pixels over {DRAWS} draws of one level's style (which is one vector for the
whole image) or of its noise maps alone, all other latents staying at one draw, as a share of the variance where all
are drawn; mean of {INPUTS} evenly spread tiles that no tower was trained on. Level 1 is the coarsest. Shares need not
add up to 1: a level's latents act through those above it."""


def reproduce_latents(bench: Workbench, tasks: Sequence[str] = TASKS) -> dict[str, Any]:
    """Measure the package's towers; write ``latents.{json,md}``.

    Args:
        bench: Data, machine; of the data ``val`` alone is read.
        tasks: Of :data:`paper.calibration.TASKS`.

    Returns:
        What ``latents.json`` holds.

    Raises:
        TimError: The data cannot be read.
    """
    folder = folder_of(bench.root, bench.preset.name)
    measured = {task: _measured(bench, task) for task in tasks}
    shared = {"draws": DRAWS, "sampling_seed": SAMPLING_SEED, **machine(bench.root, bench.device)}
    conditions = {task: {"data_set": f"{bench.data.resolve().name}, halved; tiles of val", **shared} for task in tasks}

    def stale(task: str, kept: Mapping[str, Any], conditions: Mapping[str, Any]) -> bool:
        return kept["weights"] != content_of(pretrained.path_of(TOWER_OF[task]))

    content = with_other_tasks(folder, "latents", {"tasks": measured, "conditions": conditions}, TASKS, stale)
    write_target(folder, "latents", content, _page(content["tasks"]))
    return content


def _measured(bench: Workbench, task: str) -> dict[str, Any]:
    name = TOWER_OF[task]
    tower, dataset = pretrained.load(name, bench.device).network, build_dataset(section_of_tiles(bench, name))
    found: dict[str, list[float]] = {}
    for index in evenly_spread(len(dataset), INPUTS):
        item = dataset[index]
        observed = map_tensors(lambda one: one[None].to(bench.device), Observed(item["lq"], item.get("given", {})))
        for key, value in variances(tower, observed, index).items():
            found.setdefault(key, []).append(value)
    means = {key: float(np.mean(values)) for key, values in found.items()}
    shares = {key: value / means[ALL] for key, value in means.items() if key != ALL}
    deviation = float(np.sqrt(means[ALL]))
    return {"weights": content_of(pretrained.path_of(name)), "deviation": deviation, "shares": shares}


@torch.no_grad()
def variances(tower: nn.Module, observed: Observed, image_key: int) -> dict[str, float]:
    """Return the mean variance of a pixel over draws of one part of the latents alone, and of ``all``.

    Args:
        tower: In eval mode.
        observed: The input, a batch of one on the tower's device.
        image_key: The draws depend on it.

    Returns:
        By ``LEVEL PART`` (``1 style``, coarse to fine), in squared units of the pixels' range.
    """
    conditions, tower = conditions_of(tower, observed), folded(tower)
    shapes = tower.latent_shapes(*coarsest(conditions).shape[-2:])
    keys = [
        [(SAMPLING_SEED, "latents", image_key, draw, level) for level in range(len(shapes))] for draw in range(DRAWS)
    ]
    drawn = Latents.from_keys(shapes, keys).map(lambda one: one.to(observed.lq.device))
    still = drawn.map(lambda one: one[:1].expand_as(one))
    found = {ALL: _variance(_answers(tower, conditions, drawn))}
    for level in range(len(shapes)):
        for part in PARTS:
            mixed = [LevelLatent(*one) for one in still]
            mixed[level] = mixed[level]._replace(**{part: getattr(drawn[level], part)})
            found[f"{level + 1} {part}"] = _variance(_answers(tower, conditions, Latents(mixed)))
    return found


def _answers(tower: nn.Module, conditions: Sequence[Condition], latents: Latents) -> Iterator[Tensor]:
    """Give one answer after the other, so that none depends on what shares its batch."""
    for draw in range(latents.batch_size):
        yield all_levels(tower, conditions, latents.index([draw]))[-1]


def _variance(answers: Iterator[Tensor]) -> float:
    return float(torch.cat(list(answers)).double().var(dim=0).mean())


def _page(tasks: Mapping[str, Mapping[str, Any]]) -> list[str]:
    rows = [
        [f"`{TOWER_OF[task]}`", f"{one['deviation']:.4f}", *key.split(), f"{share:.1%}"]
        for task, one in tasks.items()
        for key, share in one["shares"].items()
    ]
    header = ["tower", "deviation of a pixel, all drawn", "level", "latents", "share of the variance"]
    return ["# What do a tower's latents decide?", "", ABOUT, "", *table(header, rows)]
