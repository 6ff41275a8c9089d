"""Decide how an image is sampled so that it fits in memory: whole or in tiles, and how many samples at once.

What each way needs is computed by :mod:`tim_plugin.inference.memory_use` before anything runs.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import nn

from tim_plugin.archs.tower_arch import TowerGenerator
from tim_plugin.archs.wrapped_tower import HalfPrecision, WrappedTower
from tim_plugin.degradations.base import Degradation
from tim_plugin.degradations.unknown import Unknown
from tim_plugin.inference.arguments import GIB, Resources
from tim_plugin.inference.memory_use import activation_bytes, mapped_bytes, noise_bytes, tile_bytes
from tim_plugin.inference.tiled_tower import RRDB_HALO_PX, TiledTower
from tim_plugin.utils.disk_tensors import FLOAT_BYTES
from tim_plugin.utils.errors import TimError

TILES_PX = (512, 384, 256, 192, 128, 64)  # that auto chooses from: the larger, the less is computed twice
MOST_AT_ONCE = 16  # samples; beyond that a batch is no faster
USUAL_AT_ONCE = 4  # for networks whose memory is not known
COUNTED = 0.9  # of the memory; the rest is for what no rule counts, such as freed pieces too small to give back


class Plan(NamedTuple):
    """How one image is sampled.

    Attributes:
        tower: The network to call: the tower itself, or one that runs it in tiles or in half precision.
        device: Where its inputs have to lie; a tower that runs in tiles takes them on the CPU.
        samples_per_batch: Samples computed at once.
        tile_px: Side of a tile; 0: the image is computed as a whole.
    """

    tower: nn.Module | WrappedTower
    device: torch.device
    samples_per_batch: int
    tile_px: int


def plan_for(
    tower: nn.Module, height: int, width: int, device: torch.device, resources: Resources, taken_bytes: int
) -> Plan:
    """Decide how an LQ of ``height`` x ``width`` is sampled: whole if the memory holds it, else in tiles.

    Args:
        tower: On ``device``, in eval mode.
        height: Of the LQ, in pixels.
        width: Of the LQ, in pixels.
        device: Where it computes.
        resources: What it may use.
        taken_bytes: What the process takes before the first image, see :func:`tim_plugin.inference.devices.own_bytes`.

    Raises:
        TimError: The memory does not even suffice for tiles, or the network cannot be tiled.
    """
    if not isinstance(tower, TowerGenerator):
        if resources.tile not in ("auto", 0):
            TiledTower(tower, resources.tile, 0)  # says that it cannot
        at_once = resources.max_samples_per_batch or USUAL_AT_ONCE
        return Plan(_in_precision(tower, device, resources), device, at_once, 0)
    available = int(COUNTED * resources.memory_gib * GIB) - taken_bytes
    shrunk = tower.spec.gt_multiple // tower.spec.scale
    coarsest = (-(-height // shrunk), -(-width // shrunk))
    size = (tower.spec.num_out_ch, height * tower.spec.scale, width * tower.spec.scale)
    whole = activation_bytes(tower.spec, *coarsest) + _projected_by(tower).saving_bytes(*size)
    if resources.tile == 0 or (resources.tile == "auto" and whole <= available):
        most = resources.max_samples_per_batch or MOST_AT_ONCE
        at_once = max(min(most, available // whole), 1)
        return Plan(_in_precision(tower, device, resources), device, at_once, 0)
    return _in_tiles(tower, coarsest, size, device, resources, available, taken_bytes)


def _in_tiles(
    tower: TowerGenerator,
    coarsest: tuple[int, int],
    size: tuple[int, int, int],
    device: torch.device,
    resources: Resources,
    available: int,
    taken_bytes: int,
) -> Plan:
    """Plan tiles for a sample of ``size`` (C, H, W) whose coarsest level reads (h, w), in ``available`` bytes."""
    spec, side, degradation = tower.spec, _tile_side(tower, resources, available), _projected_by(tower)
    tile, saving = tile_bytes(spec, side, RRDB_HALO_PX), degradation.saving_bytes(*size)
    if device.type == "cuda":  # images lie in the host's memory, and tiles alone on the device
        on_disk, needed, maps = False, tile, int(resources.memory_gib * GIB)
    else:
        tile += mapped_bytes(spec, coarsest[1], side, RRDB_HALO_PX)
        noise, image = noise_bytes(spec, *coarsest), FLOAT_BYTES * math.prod(size)
        on_disk = noise + max(tile + image, saving) > available
        if on_disk:
            noise, image, saving = 0, 0, degradation.saving_bytes(*size, on_disk=True)
        needed, maps = noise + max(tile + image, saving), available - noise - tile - image
    if needed > available:
        needed_gib = math.ceil((needed + taken_bytes) / COUNTED / GIB * 100) / 100
        raise TimError(
            f"--memory-gib {resources.memory_gib:g}: {size[2]}x{size[1]} pixels in tiles of "
            f"{side} need {needed_gib:.2f} GiB: allow as much, or crop or shrink the image"
        )
    tiled = TiledTower(tower, side, maps, on_disk)
    return Plan(_in_precision(tiled, device, resources), torch.device("cpu"), 1, side)


def _projected_by(tower: TowerGenerator) -> Degradation:
    """Return what projects the samples before they are saved; the unknown degradation projects nothing."""
    return tower.degradation if tower.spec.consistency == "project" else Unknown()


def _tile_side(tower: TowerGenerator, resources: Resources, available: int) -> int:
    if resources.tile != "auto":
        return resources.tile
    fitting = [side for side in TILES_PX if tile_bytes(tower.spec, side, RRDB_HALO_PX) <= available / 2]
    return fitting[0] if fitting else TILES_PX[-1]


def _in_precision(
    tower: nn.Module | WrappedTower, device: torch.device, resources: Resources
) -> nn.Module | WrappedTower:
    return HalfPrecision(tower, device.type) if resources.precision == "bf16" else tower
