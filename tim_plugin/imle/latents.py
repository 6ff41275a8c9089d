"""Latents of a tower: each level's noise map and style vector, standard normal (paper, sections 4.1 and 4.3)."""

from __future__ import annotations

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
    """Shapes of one level's latents without the batch: ``noise`` is (C, H, W), ``style`` is (D,)."""

    noise: tuple[int, int, int]
    style: tuple[int]


class LevelLatent(NamedTuple):
    """Latents of one level: ``noise`` (N, C, H, W) and ``style`` (N, D), standard normal."""

    noise: Tensor
    style: Tensor


Draw = Callable[[LevelShape, int, torch.Generator], LevelLatent]  # as :func:`draw_level`


class Latents:
    """The latents of all (or the first few) levels, coarse to fine: a sequence of :class:`LevelLatent`.

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
        cls,
        shapes: Sequence[LevelShape],
        keys: Sequence[Sequence[Sequence[int | str]]],
        empty: Empty = torch.empty,
        deviation: float = 1.0,
    ) -> Latents:
        """Draw each level of each item from its own key, so that the latents do not depend on how items are batched.

        Args:
            shapes: One entry a level.
            keys: ``keys[i][k]`` is the key of item i at level k, as for :func:`tim_plugin.utils.seeds.derive_seed`. The
                draw is made on the CPU, so that every device sees the same latents.
            empty: Makes the tensors of (1, C, H, W) and (1, D) that are drawn into.
            deviation: Standard deviation of the values; a tower is trained with 1.
        """

        def level(k: int, shape: LevelShape) -> LevelLatent:
            items = [draw_level(shape, 1, keyed_generator(*item[k]), empty, deviation) for item in keys]
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
        """Return N, the number of items."""
        return self.levels[0].style.shape[0]

    def map(self, function: Callable[[Tensor], Tensor]) -> Latents:
        """Apply a function to every tensor."""
        return Latents([LevelLatent(*map(function, level)) for level in self.levels])

    def index(self, items: Tensor | slice | list[int]) -> Latents:
        """Take items along the batch."""
        return self.map(lambda tensor: tensor[items])

    def repeat(self, times: int) -> Latents:
        """Repeat each item: item i becomes the items i * ``times`` to (i + 1) * ``times`` - 1 of N * ``times``."""
        return self.map(lambda tensor: tensor.repeat_interleave(times, dim=0))

    def to(self, device: torch.device | str) -> Latents:
        """Move to a device."""
        return self.map(lambda tensor: tensor.to(device))

    def jittered(self, deviation: float, generator: torch.Generator) -> Latents:
        """Add normal noise of this standard deviation to every value."""
        return self.map(
            lambda tensor: (
                tensor
                + deviation * torch.randn(tensor.shape, generator=generator, device=generator.device).to(tensor.device)
            )
        )

    def state_dict(self) -> list[list[Tensor]]:
        """Return plain lists of CPU tensors, fit for ``torch.save`` and ``weights_only=True``."""
        return [[tensor.cpu() for tensor in level] for level in self.levels]

    @classmethod
    def from_state_dict(cls, state: Sequence[Sequence[Tensor]]) -> Latents:
        """Rebuild from :meth:`state_dict`."""
        return cls([LevelLatent(*level) for level in state])


def draw_level(
    shape: LevelShape,
    batch_size: int,
    generator: torch.Generator | None = None,
    empty: Empty = torch.empty,
    deviation: float = 1.0,
) -> LevelLatent:
    """Draw one level's latents for a batch, on the generator's device; on a CPU ``empty`` makes the tensors."""
    device = generator.device if generator is not None else torch.device("cpu")
    if device.type != "cpu":
        empties = (torch.empty(batch_size, *size, device=device) for size in shape)
        return LevelLatent(*(one.normal_(0, deviation, generator=generator) for one in empties))
    return LevelLatent(*(_fill(empty(batch_size, *size), generator, deviation) for size in shape))


def _fill(values: Tensor, generator: torch.Generator | None, deviation: float) -> Tensor:
    """Draw as ``torch.randn`` does, some values at a time, so that those on disk need not all be in memory."""
    flat = values.view(-1)
    for start in range(0, max(len(flat) - len(flat) % DRAWN_AT_ONCE, 1), DRAWN_AT_ONCE):
        end = start + DRAWN_AT_ONCE
        flat[start : end if end + DRAWN_AT_ONCE <= len(flat) else None].normal_(0, deviation, generator=generator)
        release(values)
    return values
