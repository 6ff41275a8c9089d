"""Whether a distance is worth its place: how it follows a judge's over distorted photographs, family by family."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from backbone.crops import Crops
from backbone.distortions import FAMILIES, Distortion
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.seeds import keyed_generator

JUDGE = "judge"
SIDE_PX = 64
PAIRS_AN_IMAGE = 3
Measure = Callable[[Tensor, Tensor], Tensor]  # of images (N, 3, H, W) in [0, 1]: (N,)
STEPS = 6  # of a distortion's strength, from 1 / STEPS to 1
AT_ONCE = 50
GOOD_CORRELATION, GOOD_GROWTH = 0.9, 0.95


@torch.no_grad()
def follow(
    judged: Mapping[str, Measure], judge: Measure, crops: Crops, num_images: int, seed: int, *, progress: bool = False
) -> dict[str, Any]:
    """Compare distances with a judge's on distorted versions of crops.

    Args:
        judged: Distances by name.
        judge: Whose distance is right.
        crops: Of photographs that none of them was trained on.
        num_images: Crops of SIDE_PX that are taken.
        seed: Of crops and distortions.
        progress: Show a bar.

    Returns:
        By distance (the judge's stands last, as ``judge``): ``overall``, Spearman's correlation with the judge's
        over all pairs; ``families``, the same within each family, and ``grows``, in which share of the steps of a
        family's strength the distance to the undistorted image grows. ``least_family`` and ``least_grows`` are the
        least of each.
    """
    measures = {**judged, JUDGE: judge}
    images = crops.draw(num_images, SIDE_PX, keyed_generator(seed, "images"))
    pairs: dict[str, dict[str, Tensor]] = {}
    grows: dict[str, dict[str, float]] = {}
    for name, family in tqdm(FAMILIES.items(), unit="family", disable=not progress):
        pairs[name] = family_distances(measures, images, family, (seed, name))
        grows[name] = _growth(measures, images, family, (seed, name))
    return {measure: _summary(measure, pairs, grows) for measure in measures}


def _summary(
    measure: str, pairs: Mapping[str, Mapping[str, Tensor]], grows: Mapping[str, Mapping[str, float]]
) -> dict[str, Any]:
    families = {name: spearman(pairs[name][measure], pairs[name][JUDGE]) for name in FAMILIES}
    growth = {name: grows[name][measure] for name in FAMILIES}
    everywhere = [torch.cat([pairs[name][one] for name in FAMILIES]) for one in (measure, JUDGE)]
    return {
        "overall": spearman(*everywhere),
        "families": families,
        "grows": growth,
        "least_family": min(families.values()),
        "least_grows": min(growth.values()),
    }


def spearman(a: Tensor, b: Tensor) -> float:
    """Return the correlation of the ranks of two lists of numbers (N,); equal numbers share the mean of their ranks.

    Raises:
        TimError: There are fewer than two, or all numbers of a list are equal.
    """
    first, second = (_ranks(one) for one in (a, b))
    if len(a) < 2 or not first.std() or not second.std():
        raise TimError(f"no correlation of {len(a)} distances that are all alike: give more photographs")
    return torch.corrcoef(torch.stack([first, second]))[0, 1].item()


def _ranks(values: Tensor) -> Tensor:
    _, place, count = values.double().unique(return_inverse=True, return_counts=True)
    return (count.cumsum(0) - (count - 1) / 2)[place]


def family_distances(
    measures: Mapping[str, Measure], images: Tensor, family: Distortion, key: Sequence[int | str]
) -> dict[str, Tensor]:
    """Return distances between two strengths of the same distortion; in about half of the pairs the weaker is none.

    Args:
        measures: By name.
        images: (N, 3, H, W) in [0, 1].
        family: The distortion.
        key: Of the generators.

    Returns:
        By measure PAIRS_AN_IMAGE N distances, or what else it gives for each pair.
    """
    found: dict[str, list[Tensor]] = {name: [] for name in measures}
    for number in range(PAIRS_AN_IMAGE):
        generator = keyed_generator(*key, "strengths", number)
        weaker, stronger = torch.rand(2, len(images), generator=generator).sort(dim=0).values
        weaker = weaker * (torch.rand(len(images), generator=generator) < 0.5)
        a, b = (
            torch.where((one > 0).view(-1, 1, 1, 1), family(images, one, keyed_generator(*key, number)), images)
            for one in (weaker, stronger)
        )
        for name, measure in measures.items():
            found[name].append(_in_parts(measure, a, b))
    return {name: torch.cat(parts) for name, parts in found.items()}


def _growth(
    measures: Mapping[str, Measure], images: Tensor, family: Distortion, key: Sequence[int | str]
) -> dict[str, float]:
    """In which share of the steps the distance to the undistorted image grows, from none on."""
    found: dict[str, list[Tensor]] = {name: [torch.zeros(len(images))] for name in measures}
    for step in range(1, STEPS + 1):
        strength = torch.full((len(images),), step / STEPS)
        made = family(images, strength, keyed_generator(*key, "growth"))
        for name, measure in measures.items():
            found[name].append(_in_parts(measure, made, images))
    return {name: (torch.stack(rows).diff(dim=0) > 0).double().mean().item() for name, rows in found.items()}


def _in_parts(measure: Measure, a: Tensor, b: Tensor) -> Tensor:
    return torch.cat([measure(x, y) for x, y in zip(a.split(AT_ONCE), b.split(AT_ONCE), strict=True)])
