"""The search on plain tensors, with any tower and any distance: what a training loop without BasicSR needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from tim_plugin.degradations.base import Observed
from tim_plugin.imle.any_tower import FunctionTower, Shape, SizeChecked, distance_of, network_of
from tim_plugin.imle.latents import Latents
from tim_plugin.imle.pyramid import condition_pyramid, target_pyramid
from tim_plugin.imle.search import hierarchical, vanilla
from tim_plugin.imle.search_runner import SearchRunner
from tim_plugin.imle.tensor_checks import (
    check_images,
    check_latents,
    check_pair,
    check_sampling,
    check_tower_reads,
    check_tower_writes,
    checked_number,
    one_a_level,
)
from tim_plugin.imle.tower_runner import SearchPlan
from tim_plugin.imle.types import Condition, DistanceLike, TowerLike, coarsest
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.trees import split

SEARCHES = {"hierarchical": hierarchical, "vanilla": vanilla}


def search(
    tower: Any,
    lq: Tensor,
    gt: Tensor,
    distance: DistanceLike | Callable[[Tensor, Tensor], Tensor],
    samples_per_level: int | Sequence[int] = 120,
    *,
    generator: torch.Generator,
    sampling: str = "hierarchical",
    max_candidates_per_batch: int = 20,
    reject_radius: float | Sequence[float] = 0.0,
    latent_shapes: Shape | Sequence[Shape] | None = None,
    given: Mapping[str, Tensor] | None = None,
    plan: SearchPlan | None = None,
) -> tuple[Any, Tensor]:
    """Choose for each of N examples the latents whose output is nearest to the observed image (paper, section 4.2).

    It computes no gradients. To train, run the tower on what is chosen::

        latents, distances = tim_plugin.imle.search(tower, lq, gt, distance, 20, generator=generator)
        distance(tim_plugin.imle.generate(tower, lq, latents)[-1], gt).mean().backward()

    Args:
        tower: A TowerGenerator, or an object that has one as ``network``; an object with methods like its
            ``forward_level`` and ``latent_shapes``; or, with ``latent_shapes``, a function of (lq, latents) to images.
        lq: (N, C, h, w) in [0, 1], the inputs; for a function whatever it takes, batch first.
        gt: (N, C, H, W) in [0, 1], the observed images, of the size of the tower's output.
        distance: An object with ``features`` and ``distance``, such as PerceptualDistance; or a function of two batches
            of images to (N,).
        samples_per_level: Candidates of each example at each level; or a list, one a level.
        generator: Source of the latents, on the device of ``lq``.
        sampling: ``hierarchical``, or ``vanilla``: all levels at once.
        max_candidates_per_batch: Images (candidates x examples) that are computed at once.
        reject_radius: Candidates nearer than this are taken only if there is no other; or one a level.
        latent_shapes: Of a function: shape of its latents without the batch, such as ``(64,)``, or a list of shapes.
        given: What a tower that projects needs beside ``lq``, by name, as data sets give it.
        plan: Precision, memory layout, compilation and memory of this search; None: as the tower is. To compile once
            for many searches keep a SearchRunner and call :func:`tim_plugin.imle.search.hierarchical`.

    Returns:
        The chosen latents: :class:`Latents`, for a function a tensor (N, ...) or a tuple of them; and the distances
        (N, L) of L levels.

    Raises:
        TimError: A tensor has another shape, range or device than it should have, or arguments do not go together.
        NonFiniteError: The distance of every candidate is NaN or infinite.
    """
    check_pair(lq, gt, generator)
    make = _of_tower if latent_shapes is None else partial(_of_function, latent_shapes)
    used, conditions, targets = make(tower, lq, gt, given)
    check_sampling(sampling, SEARCHES, samples_per_level)
    max_candidates_per_batch = checked_number("max_candidates_per_batch", max_candidates_per_batch, int, 1)
    counts = one_a_level("samples_per_level", samples_per_level, len(targets), int, 1)
    if not (plan is None or isinstance(plan, SearchPlan)):
        raise TimError(f"plan is {type(plan).__name__}: give tim_plugin.imle.SearchPlan(...), or leave it out")
    radii = one_a_level("reject_radius", reject_radius, len(targets), float, 0)
    run = partial(SEARCHES[sampling], reject_radius=radii, runner=SearchRunner(used, plan))
    measure = distance_of(distance)
    parts = split((conditions, targets), max_candidates_per_batch, len(lq))
    found = [run(used, measure, *part, counts, generator, max_candidates_per_batch) for part in parts]
    latents = Latents.concatenate([part.latents for part in found])
    distances = torch.cat([part.distances for part in found])
    return latents if latent_shapes is None else used.tower.unpacked(latents), distances


def generate(tower: Any, lq: Tensor, latents: Latents, given: Mapping[str, Tensor] | None = None) -> list[Tensor]:
    """Run a tower on its latents, with gradients: the image (N, C, H_k, W_k) of each level, coarse to fine.

    The targets that they are compared with are :func:`tim_plugin.imle.pyramid.target_pyramid` of the observed images.

    Args:
        tower: As :func:`search` takes it; a function is called as it is, ``tower(lq, latents)``.
        lq: (N, C, h, w) in [0, 1].
        latents: Of N items.
        given: See :func:`search`.

    Raises:
        TimError: The input is not what the tower reads, or the latents are of another number of items or size.
    """
    network = network_of(tower)
    check_images("lq", lq)
    conditions = _conditions(network, lq, given)
    check_latents(latents, network.latent_shapes(*coarsest(conditions).shape[-2:]), lq)
    images, state = [], None
    for level, (condition, latent) in enumerate(zip(conditions, latents, strict=True)):
        image, state = network.forward_level(level, condition, latent, state)
        images.append(image)
    return images


Problem = tuple[TowerLike, list[Condition], list[Tensor]]


def _of_tower(tower: Any, lq: Tensor, gt: Tensor, given: Mapping[str, Tensor] | None) -> Problem:
    network = network_of(tower)
    for name, images in (("lq", lq), ("gt", gt)):
        check_images(name, images)
    conditions = _conditions(network, lq, given)
    if hasattr(network, "spec"):
        check_tower_writes(network.spec, lq, gt)
        return network, conditions, target_pyramid(gt, len(conditions))
    targets = target_pyramid(gt, len(conditions))
    return SizeChecked(network, targets), conditions, targets


def _of_function(latent_shapes: Shape | Sequence[Shape], function: Any, lq: Tensor, gt: Tensor, given: Any) -> Problem:
    if not callable(function) or hasattr(function, "forward_level"):
        raise TimError(
            f"latent_shapes is for a tower that is a function of (lq, latents), and {type(function).__name__} is not: "
            "leave latent_shapes out"
        )
    if given is not None:
        raise TimError("given is for a tower that projects, and a function of (lq, latents) does not: leave it out")
    return SizeChecked(FunctionTower(function, latent_shapes), [gt]), [Condition(lq)], [gt]


def _conditions(network: Any, lq: Tensor, given: Mapping[str, Tensor] | None) -> list[Condition]:
    """Return each level's part of the input: as the tower's spec says, or all of it."""
    if not (given is None or isinstance(given, Mapping)):
        raise TimError(f"given is {type(given).__name__}: give a dict, {{name: tensor}}, the batch first")
    if not hasattr(network, "spec"):
        return [Condition(lq, None if given is None else dict(given))] * len(network.latent_shapes(*lq.shape[-2:]))
    check_tower_reads(network, lq)
    observed = Observed(lq, dict(given or {}))
    if network.spec.consistency == "project" and not network.degradation.is_complete(observed):
        needs = ", ".join(network.degradation.needs)
        raise TimError(f"the tower projects and needs {needs} of each input: given={{name: tensor}}, the batch first")
    return condition_pyramid(observed, network.spec, network.degradation)
