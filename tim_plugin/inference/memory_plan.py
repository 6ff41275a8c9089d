"""How an image is sampled: whole or in tiles, how many samples at once, in which precision."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn

from tim_plugin.archs.tower_arch import TowerGenerator
from tim_plugin.archs.wrapped_tower import HalfPrecision, WrappedTower
from tim_plugin.degradations.unknown import Unknown
from tim_plugin.inference.memory_use import activation_bytes, mapped_bytes, noise_bytes, tile_bytes
from tim_plugin.inference.tiled_tower import RRDB_HALO_PX, TiledTower
from tim_plugin.utils.disk_tensors import FLOAT_BYTES
from tim_plugin.utils.errors import TimError, did_you_mean

GIB = 2**30
PRECISIONS = ("fp32", "bf16")
TILES_PX = (512, 384, 256, 192, 128, 64)  # that auto chooses from: the larger, the less is computed twice
MOST_AT_ONCE = 16  # samples; beyond that a batch is no faster
USUAL_AT_ONCE = 4  # for networks whose memory is not known
LIBRARIES_BYTES = GIB  # where nothing tells what the process takes
COUNTED = 0.9  # of the memory; the rest is for what no rule counts, such as freed pieces too small to give back


@dataclass(frozen=True)
class Resources:
    """What sampling may use; each field is an option of ``tools/sample.py``.

    Attributes:
        memory_gib: For the whole process; on CUDA, for what lies on the device.
        tile: ``auto`` tiles what would not fit whole; a number is a tile's side in pixels; 0 never tiles.
        precision: ``fp32``, or ``bf16`` by autocast.
        max_samples_per_batch: Samples computed at once, if the memory holds as many; None: as many as it holds, at
            most 16.

    Raises:
        TimError: A value is none of these.
    """

    memory_gib: float = 4.0
    tile: str | int = "auto"
    precision: str = "fp32"
    max_samples_per_batch: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.memory_gib * GIB < math.inf:  # nor NaN
            raise TimError(f"--memory-gib {self.memory_gib}: must be above 0 and finite")
        if self.tile != "auto":
            if not str(self.tile).isdecimal():
                raise TimError(f"--tile {self.tile}: must be auto, 0 (never) or a tile's side in pixels")
            object.__setattr__(self, "tile", int(self.tile))
        if self.precision not in PRECISIONS:
            raise TimError(f"--precision {self.precision} is not known: {did_you_mean(self.precision, PRECISIONS)}")
        if self.max_samples_per_batch is not None and self.max_samples_per_batch < 1:
            raise TimError(f"--batch {self.max_samples_per_batch}: must be at least 1")


class Plan(NamedTuple):
    """How one image is sampled.

    Attributes:
        tower: To be called.
        device: Where it wants its inputs.
        samples_per_batch: Samples at once.
        tile_px: Side of a tile; 0: the image is done as a whole.
    """

    tower: nn.Module | WrappedTower
    device: torch.device
    samples_per_batch: int
    tile_px: int


def own_bytes(device: torch.device) -> int:
    """Return what the process takes already: its largest size so far, or on CUDA what lies on the device."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    try:
        import resource
    except ImportError:  # Windows
        return LIBRARIES_BYTES
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def plan_for(
    tower: nn.Module, height: int, width: int, device: torch.device, resources: Resources, taken_bytes: int
) -> Plan:
    """Decide how an LQ of ``height`` x ``width`` is sampled.

    Args:
        tower: On ``device``, in eval mode.
        height: Of the LQ.
        width: Likewise.
        device: Where it computes.
        resources: What it may use.
        taken_bytes: From :func:`own_bytes`, before the first image.

    Raises:
        TimError: The memory does not even suffice for tiles, or the network cannot be tiled.
    """
    available = int(COUNTED * resources.memory_gib * GIB) - taken_bytes
    most = resources.max_samples_per_batch or MOST_AT_ONCE
    if not isinstance(tower, TowerGenerator):
        if resources.tile not in ("auto", 0):
            TiledTower(tower, resources.tile, 0)  # says that it cannot
        at_once = resources.max_samples_per_batch or USUAL_AT_ONCE
        return Plan(_in_precision(tower, device, resources), device, at_once, 0)
    spec = tower.spec
    shrunk = 1 if spec.placement == "upsample" else 2 ** (spec.num_levels - 1)
    coarsest = (-(-height // shrunk), -(-width // shrunk))
    size = (spec.num_out_ch, height * spec.scale, width * spec.scale)
    projected = tower.degradation if spec.consistency == "project" else Unknown()
    saving = projected.saving_bytes(*size)
    whole = activation_bytes(spec, *coarsest) + saving
    if resources.tile == 0 or (resources.tile == "auto" and whole <= available):
        at_once = max(min(most, available // whole), 1)
        return Plan(_in_precision(tower, device, resources), device, at_once, 0)
    side = _tile_side(tower, resources, available)
    tile = tile_bytes(spec, side, RRDB_HALO_PX)
    if device.type == "cuda":  # images lie in the host's memory, and tiles alone on the device
        on_disk, needed, maps = False, tile, int(resources.memory_gib * GIB)
    else:
        tile += mapped_bytes(spec, coarsest[1], side, RRDB_HALO_PX)
        noise, image = noise_bytes(spec, *coarsest), FLOAT_BYTES * math.prod(size)
        on_disk = noise + max(tile + image, saving) > available
        if on_disk:
            noise, image, saving = 0, 0, projected.saving_bytes(*size, on_disk=True)
        needed, maps = noise + max(tile + image, saving), available - noise - tile - image
    if needed > available:
        needed_gib = math.ceil((needed + taken_bytes) / COUNTED / GIB * 100) / 100
        raise TimError(
            f"--memory-gib {resources.memory_gib:g}: {width * spec.scale}x{height * spec.scale} pixels in tiles of "
            f"{side} need {needed_gib:.2f} GiB: allow as much, or crop or shrink the image"
        )
    tiled = TiledTower(tower, side, maps, on_disk)
    return Plan(_in_precision(tiled, device, resources), torch.device("cpu"), 1, side)


def _tile_side(tower: TowerGenerator, resources: Resources, available: int) -> int:
    if resources.tile != "auto":
        return resources.tile
    fitting = [side for side in TILES_PX if tile_bytes(tower.spec, side, RRDB_HALO_PX) <= available / 2]
    return fitting[0] if fitting else TILES_PX[-1]


def _in_precision(
    tower: nn.Module | WrappedTower, device: torch.device, resources: Resources
) -> nn.Module | WrappedTower:
    return HalfPrecision(tower, device.type) if resources.precision == "bf16" else tower
