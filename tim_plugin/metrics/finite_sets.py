"""What a Frechet distance between finite sets owes to their size: its value at infinitely many inputs, and its floor.

The distance of n images is too large by about c / n (Chong and Forsyth 2020), so that it falls as n grows even where
nothing is different, and small sets of real images are far from one another.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tim_plugin.metrics.image_sets import SEED, FeatureSet, frechet_parts, kernel_distance

LEAST_INPUTS = 16  # of which half still makes a set
SIZES, REPEATS = 5, 3  # from half of the inputs to all; random choices of each size but the whole
HALVES = 12  # of inputs, for the kernel distance's deviation
LEAST_HALVED = 4  # inputs
SUBSETS = 5  # of other real images, for the deviation of the floor


def extrapolate(generated: FeatureSet, real: FeatureSet, samples_of_each: int) -> dict[str, Any]:
    """Return the Frechet distance at infinitely many inputs: the intercept of a line in 1 / n through those of n.

    Both sets shrink together: n inputs have n ground truths and all of their samples. Where features are many more
    than inputs the distance is not yet linear in 1 / n, and the intercept is still too high; ``residual`` is how far
    the points are from the line, root mean square.

    Args:
        generated: The samples, those of an input one after the other, inputs in the order of ``real``; where they are
            other real images these may be fewer, and as many ground truths are taken.
        real: One ground truth of each input; at least :data:`LEAST_INPUTS`.
        samples_of_each: Of each input.

    Returns:
        ``intercept``, ``residual``, ``from_inputs``, ``to_inputs``, and ``points``: inputs and distance of each.
    """
    generator, points = np.random.default_rng(SEED), []
    inputs = _inputs_of(generated, real, samples_of_each)
    for size in np.linspace(inputs / 2, inputs, SIZES).round().astype(int):
        for _ in range(REPEATS if size < inputs else 1):
            chosen = generator.permutation(inputs)[:size]
            rows = _samples_of(chosen, samples_of_each)
            points.append([int(size), distance_of(frechet_parts(generated.subset(rows), real.subset(chosen)))])
    sizes, distances = np.array(points).T
    slope, intercept = np.polyfit(1 / sizes, distances, 1)
    return {
        "intercept": float(intercept),
        "residual": float(np.sqrt(np.square(distances - intercept - slope / sizes).mean())),
        "from_inputs": int(sizes.min()),
        "to_inputs": int(sizes.max()),
        "points": points,
    }


def kernel_deviation(generated: FeatureSet, real: FeatureSet, samples_of_each: int) -> float:
    """Return the standard error of the kernel distance: its deviation over random halves of the inputs.

    A half, drawn without replacement, differs from the whole as much as the whole does from all there could be (the
    delete-half jackknife).

    Args:
        generated: The samples, as for :func:`extrapolate`.
        real: One ground truth of each input; four or more.
        samples_of_each: Of each input.
    """
    generator, found = np.random.default_rng(SEED), []
    inputs = _inputs_of(generated, real, samples_of_each)
    for _ in range(HALVES):
        chosen = generator.permutation(inputs)[: inputs // 2]
        samples = generated.subset(_samples_of(chosen, samples_of_each))
        found.append(kernel_distance(samples, real.subset(chosen))["mean"])
    return float(np.std(found, ddof=1))


def _inputs_of(generated: FeatureSet, real: FeatureSet, samples_of_each: int) -> int:
    """Return how many inputs both sets have."""
    return min(real.count, generated.count // samples_of_each)


def _samples_of(chosen: np.ndarray, samples_of_each: int) -> np.ndarray:
    """Return the places of the samples of some inputs."""
    return (chosen[:, None] * samples_of_each + np.arange(samples_of_each)).ravel()


def random_subsets(images: FeatureSet, count: int) -> list[FeatureSet]:
    """Return :data:`SUBSETS` random choices of so many of the images; one, where that is all of them."""
    if count >= images.count:
        return [images]
    generator = np.random.default_rng(SEED)
    return [images.subset(np.sort(generator.permutation(images.count)[:count])) for _ in range(SUBSETS)]


def distance_of(parts: dict[str, float]) -> float:
    """Return the Frechet distance that :func:`tim_plugin.metrics.image_sets.frechet_parts` divides."""
    return parts["means"] + parts["spreads"]
