"""Tiles: the same answer as the whole, for every way in which a tower is built, in memory or on disk."""

from __future__ import annotations

import pytest
import torch

from tim_plugin.archs.dncnn_arch import DnCNN
from tim_plugin.archs.stacked_arch import StackedGenerator
from tim_plugin.archs.wrapped_tower import HalfPrecision
from tim_plugin.degradations.base import Observed
from tim_plugin.degradations.bicubic import Bicubic
from tim_plugin.degradations.jpeg import Jpeg
from tim_plugin.degradations.lightness import Lightness
from tim_plugin.degradations.pca import PrincipalComponents
from tim_plugin.imle.pyramid import condition_pyramid
from tim_plugin.inference.feature_maps import MapStore, Window, windows
from tim_plugin.inference.sampler import sample
from tim_plugin.inference.tiled_tower import TiledTower
from tim_plugin.utils.disk_tensors import is_on_disk
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.trees import map_tensors

GIB = 2**30
SAME = {"placement": "same", "num_levels": 3}
AXES = torch.linalg.qr(torch.randn(32 * 32, 10, generator=torch.Generator().manual_seed(0))).Q.T.contiguous()
BASIS = {"mean": torch.full((32 * 32,), 0.5), "components": AXES}
JPEG = {"degradation": "jpeg"}
LABELS = {"type": "labels", "palette": "indices", "num_classes": 4}
KINDS = {  # arguments of the tower, and what degrades a picture for it
    "enlarging": ({"num_blocks": 2}, Bicubic(16).degrade),
    "consistent": ({"consistency": "project"}, Bicubic(16).degrade),
    "faded": ({"consistency": "project", "fade_contrast": 0.3}, Bicubic(16).degrade),
    "condition at every level": ({"condition_every_level": True}, Bicubic(16).degrade),
    "without features": ({"feature_scale": 0.0}, Bicubic(16).degrade),
    "without mapping": ({"mapping": False}, Bicubic(16).degrade),
    "mappings that see those below": ({"mapping_sees_below": True}, Bicubic(16).degrade),
    "without norm": ({"normalise": False, "weight_norm": False}, Bicubic(16).degrade),
    "same size": (SAME, Observed),
    "lightness": (
        {**SAME, "num_in_ch": 1, "head": "ab", "degradation": "lightness", "consistency": "project"},
        Lightness().degrade,
    ),
    "jpeg": ({**SAME, "degradation": "jpeg", "consistency": "project"}, Jpeg(20).degrade),
    "components": (
        {
            **SAME,
            "num_in_ch": 1,
            "num_out_ch": 1,
            "degradation": {"type": "pca", "basis": BASIS},
            "consistency": "project",
        },
        lambda gt: PrincipalComponents(**BASIS).degrade(gt[:1, :32, :32]),
    ),
    "labels": (
        {**SAME, "num_in_ch": 4, "degradation": LABELS},
        lambda gt: Observed((gt[:1] * 4).floor().clamp(max=3).eq(torch.arange(4)[:, None, None]).float()),
    ),
    "signed image below": ({"image_below": "signed"}, Bicubic(16).degrade),
    "head at the trunk": ({**SAME, "image_below": "none", "head_at": "trunk"}, Observed),
    "head at the trunk, image below": ({**SAME, "head_at": "trunk", "consistency": "project"} | JPEG, Jpeg(20).degrade),
    "ab over lightness": (
        {**SAME, "num_in_ch": 1, "image_below": "none", "head_at": "trunk_below_last", "head": "ab_over_lightness"}
        | {"degradation": "lightness"},
        Lightness().degrade,
    ),
    "labels at half the size": (
        {"num_in_ch": 4, "condition_every_level": True, "image_below": "none", "degradation": LABELS},
        lambda gt: Observed((gt[:1] * 4).floor().clamp(max=3).eq(torch.arange(4)[:, None, None]).float()),
    ),
}


def problem(tiny_tower, kind):
    arguments, degrade = KINDS[kind]
    tower = tiny_tower(**arguments).eval().requires_grad_(False)
    gt = torch.rand(3, 48, 80, generator=torch.Generator().manual_seed(3))
    gt = torch.nn.functional.avg_pool2d(gt, 5, 1, 2) if "labels" not in kind else gt
    observed = map_tensors(lambda tensor: tensor[None], degrade(gt))
    return tower, condition_pyramid(observed, tower.spec, tower.degradation)


@pytest.mark.parametrize("kind", KINDS)
def test_tiles_give_what_the_whole_gives(tiny_tower, kind):
    tower, conditions = problem(tiny_tower, kind)
    whole = sample(tower, conditions, 2, seed=0)
    assert whole.std() > 0.01
    for tile_px in (7, 20):  # neither divides the sides
        tiled = sample(TiledTower(tower, tile_px, GIB), conditions, 2, seed=0)
        assert tiled.shape == whole.shape
        assert (tiled - whole).abs().max() < 1e-5


def test_maps_on_disk_give_the_same_and_leave_nothing(tiny_tower, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    tower, conditions = problem(tiny_tower, "consistent")
    ways = [TiledTower(tower, 16, GIB), TiledTower(tower, 16, 0), TiledTower(tower, 16, 0, images_on_disk=True)]
    found = [sample(way, conditions, 1, seed=0) for way in ways]
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])
    assert all(way.maps.used_bytes == 0 for way in ways)
    del found
    assert list(tmp_path.iterdir()) == []


def test_a_store_takes_files_when_its_memory_is_used_up():
    store = MapStore(2 * 4 * 6 * 4)
    kept = [store.new(2, 4, 6), store.new(1, 2, 2)]
    assert [is_on_disk(one.tensor) for one in kept] == [False, True]
    kept[1].write(Window(0, 1, 2, 2), torch.tensor([1.0, 2.0], dtype=torch.bfloat16).view(1, 1, 2, 1))
    assert kept[1].read(Window(0, 1, 1, 2)).item() == 1 and kept[1].read(Window(1, 1, 2, 2)).item() == 2
    del kept[0]
    assert store.used_bytes == 0


def test_windows_cover_a_map_once_and_grow_to_its_edges():
    seen = torch.zeros(10, 7, dtype=torch.int64)
    for window in windows(10, 7, 4):
        window.of(seen).add_(1)
    assert torch.equal(seen, torch.ones_like(seen))
    assert Window(4, 4, 8, 7).grown(3, 10, 7) == (1, 1, 10, 7)


@pytest.mark.parametrize("tiles", [False, True])
def test_half_precision_stays_near_and_projects_exactly(tiny_tower, tiles):
    tower, conditions = problem(tiny_tower, "consistent")
    whole = sample(tower, conditions, 1, seed=0)
    network = HalfPrecision(TiledTower(tower, 24, GIB) if tiles else tower, "cpu")
    half = sample(network, conditions, 1, seed=0)
    assert half.dtype == torch.float32
    assert 0 < (half - whole).abs().max() < 0.1
    assert torch.allclose(tower.degradation.project(half[0], conditions[-1].given), half[0], atol=1e-5)


def test_what_cannot_be_tiled_is_refused(tiny_tower):
    for network, name in ((StackedGenerator(num_stacks=2, width=4), "StackedGenerator"), (DnCNN(), "DnCNN")):
        with pytest.raises(TimError, match=f"a {name} cannot be run tile by tile: use --tile 0"):
            TiledTower(network, 64, GIB)
    with pytest.raises(TimError, match="--tile -1: a tile has at least 1 pixel"):
        TiledTower(tiny_tower(), -1, GIB)


def test_levels_run_once_a_sample(tiny_tower, monkeypatch):
    tower, conditions = problem(tiny_tower, "enlarging")
    tiled, levels = TiledTower(tower, 24, GIB), []
    run = tiled.forward_level
    monkeypatch.setattr(tiled, "forward_level", lambda level, *rest: levels.append(level) or run(level, *rest))
    sample(tiled, conditions, 2, seed=0, level_seeds=[4, 4])
    assert levels == [0, 1, 2, 3, 2, 3]
