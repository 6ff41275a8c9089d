"""How much memory a tower takes, from the shapes of what lives at once where it takes most.

Inside an RRDB that is a dense block's joined input and its next (C + 4 G channels each), and four maps of C channels
(the shortcuts of level, RRDB and dense block, and a result); behind the trunk three maps of C channels at the level's
output size. Convolutions compute on copies of their own in another layout: half as much again, as measured on a CPU.
"""

from __future__ import annotations

from tim_plugin.options.tower_spec import LevelSpec, TowerSpec
from tim_plugin.utils.disk_tensors import FLOAT_BYTES

CONVOLUTION_SHARE = 1.5
MAPPED_AT_ONCE = 2**16  # bytes; Linux's fault_around_bytes


def activation_bytes(spec: TowerSpec, height: int, width: int) -> int:
    """Return what one sample takes while the tower runs on the whole image at once.

    Args:
        spec: The tower.
        height: Of what the coarsest level reads, in pixels.
        width: Of what the coarsest level reads, in pixels.
    """
    largest = 0
    for k, level in enumerate(spec.levels):
        pixels = height * width * 4**k
        behind = 3 * level.trunk_channels * pixels * (4 if level.upsample else 1)
        largest = max(largest, _rrdb_channels(level) * pixels, behind)
    return int(CONVOLUTION_SHARE * FLOAT_BYTES * largest)


def tile_bytes(spec: TowerSpec, tile_px: int, halo_px: int) -> int:
    """Return what one tile takes, with its halo, in the level where it takes most."""
    channels = max(_rrdb_channels(level) for level in spec.levels)
    return int(CONVOLUTION_SHARE * FLOAT_BYTES * channels * (tile_px + 2 * halo_px) ** 2)


def mapped_bytes(spec: TowerSpec, width: int, tile_px: int, halo_px: int) -> int:
    """Return what one tile's reading and writing of two maps on disk takes: the system maps 64 KiB around each row.

    Args:
        spec: The tower.
        width: Of what the coarsest level reads.
        tile_px: Side of a tile.
        halo_px: Of a tile, on each side.
    """
    side, largest = tile_px + 2 * halo_px, 0
    for k, level in enumerate(spec.levels):
        row = FLOAT_BYTES * width * 2**k * (2 if level.upsample else 1)
        largest = max(largest, level.trunk_channels * side * min(row, MAPPED_AT_ONCE + FLOAT_BYTES * side))
    return 2 * largest


def noise_bytes(spec: TowerSpec, height: int, width: int) -> int:
    """Return what the finest level's noise map takes, for a coarsest level of this size."""
    return FLOAT_BYTES * spec.noise_channels * height * width * 4 ** (spec.num_levels - 1)


def _rrdb_channels(level: LevelSpec) -> int:
    return 2 * (level.trunk_channels + 4 * level.growth_channels) + 4 * level.trunk_channels
