"""Sampling: n samples of one input against n single runs, shared levels against free ones, tiles against the whole."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from speed.settings import SETTINGS
from speed.timing import Comparison, compare
from tim_plugin.archs.tower_arch import TowerGenerator
from tim_plugin.archs.wrapped_tower import WrappedTower
from tim_plugin.degradations.base import Observed
from tim_plugin.imle.latents import LevelLatent
from tim_plugin.imle.types import Condition
from tim_plugin.inference.arguments import GIB
from tim_plugin.inference.feature_maps import windows
from tim_plugin.inference.image_samples import sample_image
from tim_plugin.inference.memory_plan import MOST_AT_ONCE
from tim_plugin.inference.tiled_tower import RRDB_HALO_PX, TiledTower

SAMPLES = (1, 4, 16, 64)
KEPT_LEVELS, KEPT_SAMPLES = 2, 16
TILED_LQ_PX, TILE_PX = 64, 256
MAPS_BYTES = 4 * GIB


class _Counter(WrappedTower):
    """Counts a tower's calls and level evaluations (items)."""

    def __init__(self, tower: TowerGenerator) -> None:
        super().__init__(tower)
        self.numbers, self.evaluations = [0], [0] * tower.spec.num_levels  # lists, which its copies share

    @property
    def calls(self) -> int:
        return self.numbers[0]

    def forward_level(
        self, level: int, condition: Condition, latent: LevelLatent, state: Any = None
    ) -> tuple[Tensor, Any]:
        self.numbers[0] += 1
        self.evaluations[level] += len(latent.style)
        return super().forward_level(level, condition, latent, state)


def benchmark_inference(name: str, repeats: int = 5, device: str = "cpu") -> list[Comparison]:
    """Time the ways of sampling on one network.

    A single run is a call of :func:`tim_plugin.inference.image_samples.sample_image` for one sample in this process,
    from the LQ to what is saved; loading, reading and writing are in neither side.

    Args:
        name: A key of :data:`speed.settings.SETTINGS`.
        repeats: Pairs that are timed.
        device: ``cpu`` or ``cuda``.
    """
    setting = SETTINGS[name]
    torch.manual_seed(0)
    tower = TowerGenerator(**setting.network).to(device).eval().requires_grad_(False)
    lq = _lq(setting.lq_px, device)
    label = f"{name}, {setting.lq_px}x{setting.lq_px} to {setting.lq_px * tower.spec.scale}"
    found = [_many(tower, lq, label, count, repeats, device) for count in SAMPLES]
    found.append(_kept_levels(tower, lq, label, repeats, device))
    return [*found, _tiles(tower, name, repeats, device)]


def _lq(side: int, device: str) -> Observed:
    values = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    return Observed((values * 0.6 + 0.2).mul(255).round().div(255).to(device))


def _single_runs(tower: TowerGenerator | WrappedTower, lq: Observed, count: int) -> Tensor:
    levels = tower.spec.num_levels
    return torch.cat([sample_image(tower, lq, 1, 0, "x", [j] * levels, MOST_AT_ONCE) for j in range(count)])


def _many(tower: TowerGenerator, lq: Observed, label: str, count: int, repeats: int, device: str) -> Comparison:
    counters = [_Counter(tower) for _ in range(2)]
    single, together = (
        _single_runs(counters[0], lq, count),
        sample_image(counters[1], lq, count, 0, "x", None, MOST_AT_ONCE),
    )
    return compare(
        "inference, many samples",
        f"{label}, {count} sample(s)",
        (f"{count} single run(s)", lambda: _single_runs(tower, lq, count)),
        ("one run", lambda: sample_image(tower, lq, count, 0, "x", None, MOST_AT_ONCE)),
        repeats,
        device,
        counts={"level calls": [one.calls for one in counters]},
        checks={"same samples": _within_a_step(single, together)},
    )


def _kept_levels(tower: TowerGenerator, lq: Observed, label: str, repeats: int, device: str) -> Comparison:
    kept = [0] * KEPT_LEVELS
    counters = [_Counter(tower) for _ in range(2)]
    for counter, seeds in zip(counters, (None, kept), strict=True):
        sample_image(counter, lq, KEPT_SAMPLES, 0, "x", seeds, MOST_AT_ONCE)
    return compare(
        "inference, shared levels",
        f"{label}, {KEPT_SAMPLES} samples, {KEPT_LEVELS} levels kept",
        ("free", lambda: sample_image(tower, lq, KEPT_SAMPLES, 0, "x", None, MOST_AT_ONCE)),
        ("kept", lambda: sample_image(tower, lq, KEPT_SAMPLES, 0, "x", kept, MOST_AT_ONCE)),
        repeats,
        device,
        counts={"level evaluations": [one.evaluations for one in counters]},
    )


def _tiles(tower: TowerGenerator, name: str, repeats: int, device: str) -> Comparison:
    tiled, side, levels = TiledTower(tower, TILE_PX, MAPS_BYTES), TILED_LQ_PX, tower.spec.num_levels
    whole_lq, tiled_lq = _lq(side, device), _lq(side, "cpu")
    same = _within_a_step(sample_image(tower, whole_lq, 1, 0, "x"), sample_image(tiled, tiled_lq, 1, 0, "x"))
    return compare(
        "inference, tiles",
        f"{name}, {side}x{side} to {side * tower.spec.scale}, 1 sample, tiles of {TILE_PX}",
        ("whole", lambda: sample_image(tower, whole_lq, 1, 0, "x")),
        ("tiles", lambda: sample_image(tiled, tiled_lq, 1, 0, "x")),
        repeats,
        device,
        bound=(1 / 1.6, "should be at least"),
        counts={"pixels that RRDBs read, over the map's": [_halo_share(side * 2**k) for k in range(levels)]},
        checks={"same sample": same},
    )


def _halo_share(side: int) -> float:
    grown = [window.grown(RRDB_HALO_PX, side, side) for window in windows(side, side, TILE_PX)]
    return round(sum((one.bottom - one.top) * (one.right - one.left) for one in grown) / side**2, 2)


def _within_a_step(a: Tensor, b: Tensor) -> bool:
    """Tell whether saved samples are the same up to how a value between two 8-bit steps is rounded."""
    return bool((a - b).abs().max() < 1.5 / 255)
