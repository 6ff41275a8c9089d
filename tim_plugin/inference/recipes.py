"""Samples whose latents are given level by level, and changed in a part of the picture only.

A recipe says from which draws each level's latents are made, so it is all that a sample needs beside its input. Where a
level has patches, noise inside a mask is that of another draw; styles stay. Instance norm would carry such a change
everywhere, through the mean and the deviation of whole maps: a sample with patches is therefore normalised with those
of the same sample without them, so that no pixel changes beyond the reach of the convolutions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from tim_plugin.archs.folded import folded
from tim_plugin.imle.latents import Empty, Latents, LevelLatent, LevelShape
from tim_plugin.imle.search import TowerLike
from tim_plugin.imle.types import Condition
from tim_plugin.imle.types import coarsest as coarsest_of
from tim_plugin.inference.batch_invariance import BatchInvariant
from tim_plugin.utils.trees import move, tile

EPSILON = 1e-5  # of F.instance_norm
Stop = Callable[[], None]


class Draw(NamedTuple):
    """One level's latents of one sample, a function of (``seed``, the image's name, ``number``, the level).

    Attributes:
        seed: From 0.
        number: Of the sample.
        temperature: What they are multiplied by.
    """

    seed: int
    number: int
    temperature: float = 1.0


class Patch(NamedTuple):
    """Noise that is another draw's inside a mask: bool (H, W), of the samples' size."""

    draw: Draw
    mask: Tensor


class LevelRecipe(NamedTuple):
    """A level's latents: those of a draw, and what of its noise later draws replace."""

    draw: Draw
    patches: tuple[Patch, ...] = ()


Recipe = Sequence[LevelRecipe]


def level_latent(
    recipe: LevelRecipe, shape: LevelShape, image_key: int | str, level: int, factor: int, empty: Empty = torch.empty
) -> LevelLatent:
    """Draw one level's latents, a batch of one.

    Args:
        recipe: Of the level.
        shape: Of its latents.
        image_key: Name of the image.
        level: Index from 0, the coarsest.
        factor: Pixels of a sample to a side of a position of the noise map.
        empty: Makes the tensors that are drawn into.
    """

    def drawn(draw: Draw) -> LevelLatent:
        return Latents.from_keys([shape], [[(draw.seed, image_key, draw.number, level)]], empty, draw.temperature)[0]

    noise, style = drawn(recipe.draw)
    for draw, mask in recipe.patches:
        noise = torch.where(_positions(mask, shape.noise[1:], factor), drawn(draw).noise, noise)
    return LevelLatent(noise, style)


def _positions(mask: Tensor, size: tuple[int, int], factor: int) -> Tensor:
    """Positions (h, w) of a noise map, any of whose pixels the mask (H, W) holds; none where the input is continued."""
    height, width = (side * factor for side in size)
    whole = F.pad(mask.float()[None, None], (0, width - mask.shape[1], 0, height - mask.shape[0]))
    return F.max_pool2d(whole, factor)[0, 0] > 0


@torch.no_grad()
def sample_recipes(
    tower: TowerLike,
    conditions: Sequence[Condition],
    recipes: Sequence[Recipe],
    image_key: int | str,
    max_samples_per_batch: int = 4,
    stop: Stop | None = None,
) -> Iterator[Tensor]:
    """Give the samples of one input some at a time, one for each recipe.

    The levels that all recipes share are computed once.

    Args:
        tower: See :func:`tim_plugin.inference.sampler.sample_chunks`; not one that computes in tiles if a recipe has
            patches.
        conditions: Condition pyramid of one image.
        recipes: Of as many levels as the tower has.
        image_key: Name of the image.
        max_samples_per_batch: Samples computed at once.
        stop: Called before each level; what it raises ends the work.

    Yields:
        (m, C, H, W) on the conditions' device, m at most ``max_samples_per_batch``. A sample has the bits that
        :func:`tim_plugin.inference.sampler.sample_chunks` gives it, and does not depend on the others.
    """
    run = _Levels(folded(tower), conditions, image_key, stop)
    first, num_levels = recipes[0], len(conditions)
    shared = next((k for k in range(num_levels) if any(one[k] != first[k] for one in recipes)), num_levels)
    state = run(first[:shared], 0, None)
    for start in range(0, len(recipes), max_samples_per_batch):
        part = recipes[start : start + max_samples_per_batch]
        yield run.batch(part, shared, state)


class _Pass(NamedTuple):
    """An image (m, C, H, W) and the state behind a level; and the state without patches, if any recipe has one."""

    image: Tensor
    state: Any
    plain: Any


class _Levels:
    def __init__(self, tower: TowerLike, conditions: Sequence[Condition], image_key: int | str, stop: Stop | None):
        self.tower, self.conditions, self.image_key, self.stop = tower, conditions, image_key, stop
        coarsest = coarsest_of(conditions)
        self.device, self.shapes = coarsest.device, tower.latent_shapes(*coarsest.shape[-2:])
        self.rows = coarsest.shape[-2] * tower.spec.gt_multiple  # of a sample, with those that are cut off

    def __call__(self, recipe: Recipe, first_level: int, before: _Pass | None) -> _Pass | None:
        return self._through([recipe], first_level, before)

    def batch(self, recipes: Sequence[Recipe], shared: int, before: _Pass | None) -> Tensor:
        """Compute the levels from ``shared`` on, each recipe's own."""
        repeated = None if before is None else _Pass(*(tile(one, len(recipes)) for one in before))
        return self._through([one[shared:] for one in recipes], shared, repeated).image

    def _through(self, recipes: Sequence[Recipe], first_level: int, before: _Pass | None) -> _Pass | None:
        for offset, levels in enumerate(zip(*recipes, strict=True)):
            if self.stop is not None:
                self.stop()
            before = self._level(first_level + offset, levels, before)
        return before

    def _level(self, level: int, recipes: Sequence[LevelRecipe], before: _Pass | None) -> _Pass:
        state = None if before is None else before.state
        was_patched = before is not None and before.plain is not None
        if not was_patched and not any(one.patches for one in recipes):
            return _Pass(*self._run(level, recipes, state), None)
        norms = Norms()
        with norms.noting():
            unpatched = [LevelRecipe(one.draw) for one in recipes]
            _, plain = self._run(level, unpatched, before.plain if was_patched else state)
        with norms.holding():
            return _Pass(*self._run(level, recipes, state), plain)

    def _run(self, level: int, recipes: Sequence[LevelRecipe], state: Any) -> tuple[Tensor, Any]:
        shape = self.shapes[level]
        factor = self.rows // shape.noise[1]
        drawn = [level_latent(one, shape, self.image_key, level, factor) for one in recipes]
        latent = LevelLatent(*map(torch.cat, zip(*drawn, strict=True)))
        with BatchInvariant():
            condition = tile(self.conditions[level], len(recipes))
            return self.tower.forward_level(level, condition, move(latent, self.device), state)


class Norms(TorchFunctionMode):
    """Means and deviations of instance norms: noted as a network runs, and held in a second run of the same network."""

    def __init__(self) -> None:
        super().__init__()
        self._known: list[tuple[Tensor, Tensor]] = []
        self._next: Iterator[tuple[Tensor, Tensor]] | None = None

    def noting(self) -> Norms:
        """Return this, as a context in which instance norms are noted."""
        self._next = None
        return self

    def holding(self) -> Norms:
        """Return this, as a context in which the n-th instance norm takes the n-th noted mean and deviation."""
        self._next = iter(self._known)
        return self

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if function is not F.instance_norm:
            return function(*args, **(kwargs or {}))
        if self._next is None:
            deviation, mean = torch.var_mean(args[0], dim=(2, 3), keepdim=True, unbiased=False)
            self._known.append((mean, (deviation + EPSILON).rsqrt()))
            return function(*args, **(kwargs or {}))
        mean, scale = next(self._next)
        return (args[0] - mean) * scale  # (N, C, H, W)
