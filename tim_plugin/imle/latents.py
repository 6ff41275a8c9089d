"""Latent codes of a tower: each level's noise map and style vector, standard normal (paper, sections 4.1 and 4.3)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from tim_plugin.utils.disk_tensors import release
from tim_plugin.utils.seeds import keyed_generator

Empty = Callable[..., Tensor]
# torch draws 16 values from 16 at once: cut at multiples of 16, and with no short last part, the values stay the same.
DRAWN_AT_ONCE = 2**22


class LevelShape(NamedTuple):
    """Shapes of one level's codes without the batch: ``noise`` is (C, H, W), ``style`` is (D,)."""

    noise: tuple[int, int, int]
    style: tuple[int]


class LevelLatent(NamedTuple):
    """Codes of one level: ``noise`` (N, C, H, W) and ``style`` (N, D), standard normal."""

    noise: Tensor
    style: Tensor


Draw = Callable[[LevelShape, int, torch.Generator], LevelLatent]  # as :func:`draw_level`


class Latents:
    """The codes of all (or the first few) levels, coarse to fine; a sequence of :class:`LevelLatent`.

    Args:
        levels: One entry a level, all with the same batch size N.
    """

    def __init__(self, levels: Sequence[LevelLatent]) -> None:
        self.levels = tuple(LevelLatent(*level) for level in levels)

    @classmethod
    def draw(cls, shapes: Sequence[LevelShape], batch_size: int, generator: torch.Generator | None = None) -> Latents:
        """Draw a batch from one generator, on the generator's device (None: torch's global one, on the CPU)."""
        return cls([draw_level(shape, batch_size, generator) for shape in shapes])

    @classmethod
    def from_keys(
        cls, shapes: Sequence[LevelShape], keys: Sequence[Sequence[Sequence[int | str]]], empty: Empty = torch.empty
    ) -> Latents:
        """Draw each item's level from its own key: the codes do not depend on how items are batched.

        Args:
            shapes: One entry a level.
            keys: ``keys[i][k]`` is the key of item i at level k, as for :func:`tim_plugin.utils.seeds.derive_seed`. The
                draw is made on the CPU, so that every device sees the same codes.
            empty: Makes the tensors of (1, C, H, W) and (1, D) that are drawn into.
        """

        def level(k: int, shape: LevelShape) -> LevelLatent:
            items = [draw_level(shape, 1, keyed_generator(*item[k]), empty) for item in keys]
            return items[0] if len(items) == 1 else LevelLatent(*map(torch.cat, zip(*items, strict=True)))

        return cls([level(k, shape) for k, shape in enumerate(shapes)])

    @classmethod
    def concatenate(cls, items: Sequence[Latents]) -> Latents:
        """Join along the batch."""
        return cls(
            [
                LevelLatent(torch.cat([level.noise for level in same]), torch.cat([level.style for level in same]))
                for same in zip(*items, strict=True)
            ]
        )

    def __len__(self) -> int:
        return len(self.levels)

    def __getitem__(self, level: int) -> LevelLatent:
        return self.levels[level]

    def __iter__(self) -> Iterator[LevelLatent]:
        return iter(self.levels)

    @property
    def batch_size(self) -> int:
        """N."""
        return self.levels[0].style.shape[0]

    def map(self, function: Callable[[Tensor], Tensor]) -> Latents:
        """Apply a function to every tensor."""
        return Latents([LevelLatent(*map(function, level)) for level in self.levels])

    def index(self, items: Tensor | slice | list[int]) -> Latents:
        """Take items along the batch."""
        return self.map(lambda tensor: tensor[items])

    def repeat(self, times: int) -> Latents:
        """Repeat each item ``times`` times in place: item i becomes items i * times ... (N * times)."""
        return self.map(lambda tensor: tensor.repeat_interleave(times, dim=0))

    def to(self, device: torch.device | str) -> Latents:
        """Move to a device."""
        return self.map(lambda tensor: tensor.to(device))

    def jittered(self, deviation: float, generator: torch.Generator) -> Latents:
        """Add normal noise of this standard deviation to every code."""
        return self.map(
            lambda tensor: (
                tensor
                + deviation * torch.randn(tensor.shape, generator=generator, device=generator.device).to(tensor.device)
            )
        )

    def blend(self, other: Latents, weight: float) -> Latents:
        """Interpolate spherically: 0 gives these codes, 1 the other; what lies between is as long as a normal draw.

        Args:
            other: Codes of the same shapes.
            weight: In [0, 1].
        """
        return Latents(
            [
                LevelLatent(*(_slerp(a, b, weight) for a, b in zip(mine, theirs, strict=True)))
                for mine, theirs in zip(self.levels, other.levels, strict=True)
            ]
        )

    def state_dict(self) -> list[list[Tensor]]:
        """Return plain lists of CPU tensors, fit for ``torch.save`` and ``weights_only=True``."""
        return [[tensor.cpu() for tensor in level] for level in self.levels]

    @classmethod
    def from_state_dict(cls, state: Sequence[Sequence[Tensor]]) -> Latents:
        """Rebuild from :meth:`state_dict`."""
        return cls([LevelLatent(*level) for level in state])


def draw_level(
    shape: LevelShape, batch_size: int, generator: torch.Generator | None = None, empty: Empty = torch.empty
) -> LevelLatent:
    """Draw one level's codes for a batch from a generator, on its device; there ``empty`` makes the tensors."""
    device = generator.device if generator is not None else torch.device("cpu")
    if device.type != "cpu":
        return LevelLatent(*(torch.randn(batch_size, *size, generator=generator, device=device) for size in shape))
    return LevelLatent(*(_fill(empty(batch_size, *size), generator) for size in shape))


def _fill(values: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw as ``torch.randn`` does, some values at a time, so that those on disk need not all be in memory."""
    flat = values.view(-1)
    for start in range(0, max(len(flat) - len(flat) % DRAWN_AT_ONCE, 1), DRAWN_AT_ONCE):
        end = start + DRAWN_AT_ONCE
        flat[start : end if end + DRAWN_AT_ONCE <= len(flat) else None].normal_(generator=generator)
        release(values)
    return values


def _slerp(a: Tensor, b: Tensor, weight: float) -> Tensor:
    flat_a, flat_b = a.flatten(1), b.flatten(1)
    cosine = torch.nn.functional.cosine_similarity(flat_a, flat_b, dim=1).clamp(-1, 1)
    angle = cosine.acos().view(-1, *[1] * (a.dim() - 1))  # (N, 1, ...)
    sine = angle.sin()
    near = sine < 1e-6  # parallel: the limit is the straight line
    first = torch.where(near, torch.full_like(angle, 1 - weight), ((1 - weight) * angle).sin() / sine.clamp_min(1e-6))
    second = torch.where(near, torch.full_like(angle, weight), (weight * angle).sin() / sine.clamp_min(1e-6))
    if math.isclose(weight, 0) or math.isclose(weight, 1):
        return a.clone() if weight < 0.5 else b.clone()
    return first * a + second * b
