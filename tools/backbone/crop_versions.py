"""Training examples of a student: each crop with three distorted copies of it, whose distances it learns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations

import torch
from torch import Tensor

from backbone.distortions import FAMILIES, fields
from tim_plugin.utils.seeds import keyed_generator

NUM_VERSIONS = 4
PAIRS = tuple(combinations(range(NUM_VERSIONS), 2))
DESCENT_STEPS = 4
DESCENT_STEP = 0.03  # root mean square of what a step changes
TINY = 1e-12


def distort(images: Tensor, family: Tensor, strength: Tensor, *key: int | str) -> Tensor:
    """Distort each image by its family.

    Args:
        images: (N, 3, H, W) in [0, 1].
        family: (N,) places in :data:`backbone.distortions.FAMILIES`.
        strength: (N,) in [0, 1].
        key: Of the generators; the same key with other strengths gives more or less of the same.
    """
    found = images.clone()
    for index, (name, function) in enumerate(FAMILIES.items()):
        items = (family == index).nonzero().flatten()
        if len(items):
            found[items] = function(images[items], strength[items], keyed_generator(*key, name))
    return found


def draw_versions(
    images: Tensor, *key: int | str, weights: Sequence[float] | None = None
) -> tuple[list[Tensor], Tensor]:
    """Return four versions of each image: itself, distorted weakly and strongly, and distorted in another way.

    The second and third are one distortion at two strengths; the fourth distorts the image or the second.

    Args:
        images: (N, 3, H, W) in [0, 1].
        key: Of the generators.
        weights: How often each family is drawn, where not all are alike.

    Returns:
        Four times (N, 3, H, W), and (N, 2): the strengths of the second and the third, the weaker one first.
    """
    generator, count = keyed_generator(*key, "choice"), len(images)
    if weights is None:
        first, second = torch.randint(len(FAMILIES), (2, count), generator=generator)
    else:
        odds = torch.tensor(weights).expand(2, -1)
        first, second = torch.multinomial(odds, count, replacement=True, generator=generator)
    drawn = torch.rand(4, count, generator=generator)
    strengths = drawn[:2].sort(dim=0).values
    weaker, stronger = (distort(images, first, strength, *key, "first") for strength in strengths)
    base = torch.where(drawn[3].view(-1, 1, 1, 1) < 0.5, images, weaker)
    return [images, weaker, stronger, distort(base, second, drawn[2], *key, "second")], strengths.T


def descend(images: Tensor, distance: Callable[[Tensor], Tensor], *key: int | str) -> Tensor:
    """Return images that a distance takes for others: random detail, led a few steps down the distance's gradient.

    A network that is trained by the distance finds such images, so a student must learn to tell them apart.

    Args:
        images: (N, 3, H, W) that are to be matched.
        distance: Maps images (N, 3, H, W) to their distances (N,) from those.
        key: Of the generator.
    """
    generator = keyed_generator(*key, "descent")
    made = fields(images, torch.rand(len(images), generator=generator), generator)
    steps = int(torch.randint(1, DESCENT_STEPS + 1, (), generator=generator))
    for _ in range(steps):
        made.requires_grad_()
        (gradient,) = torch.autograd.grad(distance(made).sum(), made)
        size = gradient.square().mean(dim=(1, 2, 3), keepdim=True).clamp_min(TINY).sqrt()
        made = (made.detach() - DESCENT_STEP * gradient / size).clamp(0, 1)
    return made.detach()
