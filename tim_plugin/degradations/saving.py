"""What a saved image keeps of a projection: project, clip and round, again and again, each image by itself."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from tim_plugin.images import round_to_8_bit

OfItems = Callable[[Tensor, Tensor], Tensor]


@torch.no_grad()
def improve_for_saving(
    images: Tensor, project: OfItems, score: OfItems, target: float, max_rounds: int, patience: int | None = None
) -> tuple[Tensor, Tensor]:
    """Project, clip and round until what an 8-bit file holds is good enough.

    Args:
        images: (N, C, H, W).
        project: Of some images and their indices (n,), the projected images.
        score: Of some images on the 8-bit grid and their indices, how good they are (n,); the higher the better.
        target: Score at which an image is done.
        max_rounds: Rounds at most; what cannot be reached never is.
        patience: Rounds without gain after which an image is left as it is; None goes on.

    Returns:
        The images in [0, 1] on the 8-bit grid and their scores (N,), the best that was found of each.
    """
    best, current = round_to_8_bit(images), images.clone()
    scores = score(best, torch.arange(len(images), device=images.device))
    since = torch.zeros_like(scores)  # rounds in which an image did not get better
    for _ in range(max_rounds):
        todo = (scores < target).nonzero().flatten()
        if patience is not None:
            todo = todo[since[todo] < patience]
        if not len(todo):
            break
        current[todo] = project(current[todo], todo).clamp(0, 1)
        rounded = round_to_8_bit(current[todo])
        found = score(rounded, todo)
        better = found > scores[todo]
        since[todo] = torch.where(better, 0, since[todo] + 1)
        best[todo[better]], scores[todo[better]] = rounded[better], found[better]
    return best, scores
