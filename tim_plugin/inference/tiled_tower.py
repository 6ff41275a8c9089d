"""The tower on images of any size in bounded memory: computed tile by tile, with the same result as on the whole.

A level is computed in stages: first convolution, each RRDB, the last convolutions. A stage runs over all tiles of the
image before the next one begins, and its output is a map of the whole image, kept in memory or in a temporary file
(:mod:`tim_plugin.inference.feature_maps`). The result is that of the whole image, whatever the tile size, because:

- A tile is read with a border (halo) as wide as the stage's convolutions reach. At the edges of the image there is no
  border, because there the convolutions pad with zeros on the whole image too.
- Instance norm needs mean and variance of the whole map: they are summed up while a stage runs, and the next stage
  normalises each tile as it reads it.
- The noise is drawn for the whole image at once, and nothing is blended where tiles meet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tim_plugin.archs.tower_arch import TowerGenerator, TowerLevel
from tim_plugin.archs.wrapped_tower import WrappedTower
from tim_plugin.imle.latents import LevelLatent
from tim_plugin.imle.types import Condition
from tim_plugin.inference.feature_maps import FeatureMap, MapStore, Window, windows
from tim_plugin.utils.disk_tensors import on_disk, release
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.precision import full_precision

FIRST_HALO_PX = 1
RRDB_HALO_PX = 15  # three dense blocks of five 3x3 convolutions
LAST_HALO_PX = 3  # conv_body, and behind it two 3x3 convolutions, or three at twice the size
NORM_EPSILON = 1e-5  # of F.instance_norm

Read = Callable[[Window], Tensor]


class TiledState(NamedTuple):
    """What a level gives the next one.

    Attributes:
        image: (1, C, H, W), on the CPU.
        features: Of the level's trunk; None of the last level, whose features nobody reads.
        mapped: Outputs of the mapping networks so far, where the tower's mapping networks read those of lower levels.
    """

    image: Tensor
    features: FeatureMap | None
    mapped: tuple[Tensor, ...] = ()


class _Moments:
    """Sums of a map's values and squares, per channel, in float64."""

    def __init__(self, channels: int) -> None:
        self.sums = torch.zeros(2, channels, dtype=torch.float64)
        self.count = 0

    def add(self, tile: Tensor) -> None:
        values = tile[0].double().flatten(1)  # (C, h * w)
        self.sums += torch.stack([values.sum(dim=1), values.square().sum(dim=1)]).cpu()
        self.count += values.shape[1]

    def normalised(self, tile: Tensor) -> Tensor:
        """Instance norm by these moments."""
        mean, square = self.sums / self.count
        scale = (square - mean.square() + NORM_EPSILON).rsqrt()
        mean, scale = (one.to(tile)[None, :, None, None] for one in (mean, scale))
        return (tile - mean) * scale


class TiledTower(WrappedTower):
    """Runs a :class:`TowerGenerator` tile by tile on its own device; images, latents and maps are on the CPU.

    Args:
        tower: The generator, in eval mode.
        tile_px: Side of a tile, without halo.
        memory_bytes: What feature maps may take in memory together, see :class:`MapStore`.
        images_on_disk: Noise and images lie on disk too (:mod:`tim_plugin.utils.disk_tensors`).

    Attributes:
        max_samples_per_batch: One: a sample has all the memory.

    Raises:
        TimError: The network is no TowerGenerator, or a tile has less than one pixel.
    """

    max_samples_per_batch = 1

    def __init__(self, tower: nn.Module, tile_px: int, memory_bytes: int, images_on_disk: bool = False) -> None:
        if not isinstance(tower, TowerGenerator):
            raise TimError(f"--tile: a {type(tower).__name__} cannot be run tile by tile: use --tile 0")
        if tile_px < 1:
            raise TimError(f"--tile {tile_px}: a tile has at least 1 pixel a side")
        super().__init__(tower)
        self.tile_px, self.maps = tile_px, MapStore(memory_bytes)
        self.device = next(tower.parameters()).device
        self.images_on_disk = images_on_disk

    def empty(self, *shape: int) -> Tensor:
        """Return a tensor of undefined values for noise or an image."""
        return on_disk(*shape) if self.images_on_disk else torch.empty(shape)

    @torch.no_grad()
    def forward_level(
        self, level: int, condition: Condition, latent: LevelLatent, state: TiledState | None = None
    ) -> tuple[Tensor, TiledState]:
        """Run one level on one item; as :meth:`TowerGenerator.forward_level`, all tensors on the CPU."""
        module = self.tower.levels[level]
        first = self._first(module, self._reader(condition, latent, state), latent.noise.shape[-2:])
        below = () if state is None else state.mapped
        mapped = None if module.mapping is None else module.mapping.mapped(latent.style.to(self.device), below)
        trunk = self._trunk(module, first, mapped)
        image, features = self._last(module, first, trunk, condition, level == self.spec.num_levels - 1)
        with full_precision(image.device):
            image = self.tower.agreeing(image, condition)
        return image, TiledState(image, features, (*below, mapped) if self.spec.mapping_sees_below else ())

    def _reader(self, condition: Condition, latent: LevelLatent, state: TiledState | None) -> Read:
        """Return what reads a window of all that the level's first convolution sees."""
        held = [latent.noise] if state is None else [latent.noise, state.image]
        size = latent.noise.shape[-2:]

        def read(window: Window) -> Tensor:
            parts = [] if condition.image is None else [window.of(condition.image)]
            if state is not None and self.spec.image_below != "none":
                enlarge = state.image.shape[-2:] != size
                image = _enlarged_image(state.image, window) if enlarge else window.of(state.image)
                parts += self.tower.read_below(image)
            parts.append(window.of(latent.noise))
            if state is not None and self.spec.feature_scale > 0:
                enlarge = state.features.shape[1:] != size
                features = _enlarged(state.features, window) if enlarge else state.features.read(window)
                parts.append(features * self.spec.feature_scale)
            seen = torch.cat(parts, dim=1)
            release(*held)
            return seen

        return read

    def _first(self, module: TowerLevel, read: Read, size: torch.Size) -> FeatureMap:
        first = self.maps.new(module.conv_first.out_channels, *size)
        for window, out in self._tiles(size, FIRST_HALO_PX, read, module.conv_first):
            first.write(window, out.cpu())
        return first

    def _trunk(self, module: TowerLevel, first: FeatureMap, mapped: Tensor | None) -> Read:
        """Run the RRDBs; what is returned reads the modulated output of the last one."""
        scales, offsets = (None, None) if mapped is None else module.mapping.modulation(mapped)  # (1, K, C) each
        read: Read = first.read
        for index, block in enumerate(module.blocks):
            out, moments = self.maps.new(*first.shape), _Moments(first.shape[0])
            for window, tile in self._tiles(first.shape[1:], RRDB_HALO_PX, read, block):
                moments.add(tile)
                out.write(window, tile.cpu())
            read = out.read  # the map before goes with the reader that held it
            if mapped is not None:
                norm = moments if module.normalise else None
                read = partial(_modulated, out, norm, *(one[0, index].cpu() for one in (scales, offsets)))
        return read

    def _last(
        self, module: TowerLevel, first: FeatureMap, trunk: Read, condition: Condition, is_last: bool
    ) -> tuple[Tensor, FeatureMap | None]:
        """Run the convolutions behind the trunk; nobody reads the last level's features, the largest map of all."""
        channels, *size = first.shape
        factor = 2 if module.upsample else 1
        image_factor = 1 if module.head_at_trunk else factor
        image = self.empty(1, self.spec.num_out_ch, *(side * image_factor for side in size))
        features = None if is_last else self.maps.new(channels, *(side * factor for side in size))
        halo = LAST_HALO_PX + (module.conv_up is not None and not module.upsample)
        lightness = condition.image if self.spec.writes_ab else None

        def read(window: Window) -> Tensor:
            return torch.cat([first.read(window), trunk(window)], dim=1)

        def tiles(compute: Callable[[Tensor], Tensor], factor: int) -> Iterator[tuple[Window, Tensor]]:
            return self._tiles(
                tuple(size), halo, read, lambda both: compute(module.total(*both.split(channels, dim=1))), factor
            )

        def both(total: Tensor) -> Tensor:
            out = module.features_of(total)
            raw = module.raw_of(out)
            return torch.cat([raw, raw[:, :0] if is_last else out], dim=1)

        for window, tile in tiles(module.raw_of if module.head_at_trunk else both, image_factor):
            raw, out = tile.split([module.conv_last.out_channels, tile.shape[1] - module.conv_last.out_channels], dim=1)
            given = None if lightness is None else window.of(lightness).to(self.device)
            with full_precision(self.device):
                window.of(image).copy_(self.tower.image_of(raw, given))
            release(image)
            if out.shape[1]:
                features.write(window, out.cpu())
        if module.head_at_trunk and features is not None:
            for window, out in tiles(module.features_of, factor):
                features.write(window, out.cpu())
        return image, features

    def _tiles(
        self, size: tuple[int, int], halo: int, read: Read, function: Callable[[Tensor], Tensor], factor: int = 1
    ):
        """Give each window of the result, ``factor`` times as large as what is read, and a function's values there."""
        side = max(self.tile_px // factor, 1)
        for window in windows(*size, side):
            around = window.grown(halo, *size)
            out = function(read(around).to(self.device))
            yield window.times(factor), window.within(around).times(factor).of(out)


def _modulated(maps: FeatureMap, moments: _Moments | None, scale: Tensor, offset: Tensor, window: Window) -> Tensor:
    """Read a window of an RRDB's output, normalised and modulated as the whole map would be."""
    tile = maps.read(window)
    tile = tile if moments is None else moments.normalised(tile)
    return tile * (1 + scale[:, None, None]) + offset[:, None, None]


def _enlarged(maps: FeatureMap, window: Window) -> Tensor:
    """Read a window of a map that is enlarged twice by nearest neighbour."""
    half = _half(window)
    tile = maps.read(half).repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    return window.within(half.times(2)).of(tile)


def _enlarged_image(image: Tensor, window: Window) -> Tensor:
    """Read a window of an image (1, C, H, W) that is enlarged twice bilinearly, which looks one pixel further."""
    half = _half(window).grown(1, *image.shape[-2:])
    tile = F.interpolate(half.of(image), scale_factor=2, mode="bilinear", align_corners=False)
    return window.within(half.times(2)).of(tile)


def _half(window: Window) -> Window:
    return Window(window.top // 2, window.left // 2, -(-window.bottom // 2), -(-window.right // 2))
