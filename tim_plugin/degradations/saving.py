"""Projection of images that are saved with 8 bits: rounding undoes part of it, so it is repeated."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from tim_plugin.utils.images import round_to_8_bit

OUTLOOK = 10  # rounds that tell what the next ones can be expected to gain
_OfItems = Callable[[Tensor, Tensor], Tensor]


@torch.no_grad()
def improve_for_saving(
    images: Tensor,
    project: _OfItems,
    score: _OfItems,
    target: float,
    max_rounds: int,
    patience: int | None = None,
    give_up: bool = False,
    way: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Repeat projecting, clipping and rounding, for each image by itself, until the rounded image is good enough.

    Args:
        images: (N, C, H, W).
        project: Maps some images (n, C, H, W) and their indices (n,) to the projected images.
        score: Maps some images on the 8-bit grid and their indices to how good they are (n,); higher is better.
        target: Score at which an image is done.
        max_rounds: Rounds at most.
        patience: Rounds without gain after which an image is left as it is; None goes on.
        give_up: Leave an image as it is once :func:`out_of_reach` says so.
        way: From the second round on, how far each goes, where 1 is as far as the projection.

    Returns:
        The images in [0, 1] on the 8-bit grid and their scores (N,), the best that was found of each.
    """
    best, current = round_to_8_bit(images), images
    scores = score(best, torch.arange(len(images), device=images.device))
    since = torch.zeros_like(scores)  # rounds in which an image did not get better
    reached: list[Tensor] = []
    for done in range(max_rounds):
        todo = (scores < target).nonzero().flatten()
        if patience is not None:
            todo = todo[since[todo] < patience]
        if give_up:
            reached.append(scores.clone())
            todo = todo[~out_of_reach(reached, target, max_rounds - done)[todo]]
        if not len(todo):
            break
        before = of_items(current, todo)
        projected = project(before, todo)
        if done and way != 1:
            projected = before + (projected - before).mul_(way)
        projected = projected.clamp(0, 1)
        current = _replaced(current, todo, projected)
        rounded = round_to_8_bit(projected)
        found = score(rounded, todo)
        better = found > scores[todo]
        since[todo] = torch.where(better, 0, since[todo] + 1)
        best = _replaced(best, todo[better], rounded if better.all() else rounded[better])
        scores[todo[better]] = found[better]
    return best, scores


def out_of_reach(reached: Sequence[Tensor], target: float, rounds_left: int) -> Tensor:
    """Tell which images would miss the target even if each round left gained as much as the last ones did in mean.

    Gains shrink from round to round, so that none is given up that would have come there.

    Args:
        reached: Scores (N,) before each round, and now.
        target: The score at which an image is done.
        rounds_left: How many there are.
    """
    if len(reached) <= OUTLOOK:
        return torch.zeros_like(reached[-1], dtype=torch.bool)
    gain = (reached[-1] - reached[-1 - OUTLOOK]) / OUTLOOK
    return reached[-1] + gain * rounds_left < target


def of_items(images: Tensor, items: Tensor) -> Tensor:
    """Return the items at ascending indices (n,) of a tensor (N, ...); without a copy where these are all."""
    return images if len(items) == len(images) else images[items]


def _replaced(images: Tensor, items: Tensor, new: Tensor) -> Tensor:
    """Return images with new ones at ``items`` (ascending); what is given stays as it is."""
    return new if len(items) == len(images) else images.index_copy(0, items, new)
