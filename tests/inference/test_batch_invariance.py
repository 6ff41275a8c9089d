"""A sample is the same whatever the number of samples, and whoever shares its batch."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tim_plugin.cli.main import main
from tim_plugin.degradations.base import Observed
from tim_plugin.degradations.bicubic import project
from tim_plugin.imle.pyramid import condition_pyramid
from tim_plugin.inference.batch_invariance import SMALL, BatchInvariant
from tim_plugin.inference.image_samples import sample_image
from tim_plugin.inference.sampler import sample
from tim_plugin.inference.tiled_tower import TiledTower
from tim_plugin.inference.towers import load

GPU_STEPS = 2  # of 255; cuDNN chooses its algorithm by the batch's size


def same_in_any_batch() -> bool:
    """Whether this processor's convolutions of several items round alike, as oneDNN's do for AVX2."""
    images, weight = torch.rand(8, 24, 20, 20), torch.rand(12, 24, 3, 3)
    whole = F.conv2d(images, weight)
    return all(torch.equal(F.conv2d(images[:n], weight), whole[:n]) for n in (2, 3, 4))


def conditions_of(tower, size):
    lq = torch.rand(1, tower.spec.num_in_ch, *size, generator=torch.Generator().manual_seed(0))
    return condition_pyramid(Observed(lq), tower.spec, tower.degradation)


@pytest.mark.parametrize(
    ("name", "size", "tile_px", "shared"),
    [
        ("sr16x-small", (5, 4), 0, None),
        ("sr16x-small", (5, 4), 0, [1]),
        ("sr4x-small", (9, 7), 0, None),
        ("sr4x-small", (9, 7), 20, None),
        ("colorize-small", (32, 32), 0, None),
        ("layout-camvid-small", (32, 32), 0, None),
        ("mnist-pca", (32, 32), 0, None),
    ],
)
def test_a_tower_s_sample_is_the_same_to_the_bit_in_any_batch(name, size, tile_px, shared):
    tower = load(name).network
    conditions = conditions_of(tower, size)
    tower = TiledTower(tower, tile_px, 2**30) if tile_px else tower
    of_eight = sample(tower, conditions, 8, 0, ["a"], shared, 16)[0]
    for n, at_once in ((4, 4), (4, 3), (1, 1)):
        found = sample(tower, conditions, n, 0, ["a"], shared, at_once)[0]
        if same_in_any_batch():
            assert torch.equal(found, of_eight[:n])
        else:
            assert (found - of_eight[:n]).abs().max() < 1e-5


def test_the_command_writes_the_same_sample_for_any_number(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 9, 3)).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), pixels)
    for n in ("8", "4", "1"):
        main(["-i", str(tmp_path / "a.png"), "-o", str(tmp_path / n), "-m", "sr4x-small", "-n", n], "sample")
    for n in (4, 1):
        found = [cv2.imread(str(tmp_path / str(n) / f"a_s{j:02d}.png")).astype(int) for j in range(n)]
        of_eight = [cv2.imread(str(tmp_path / "8" / f"a_s{j:02d}.png")).astype(int) for j in range(n)]
        assert np.abs(np.array(found) - np.array(of_eight)).max() <= (0 if same_in_any_batch() else 1)


@pytest.mark.parametrize("shape", [(3, 5, 4), (64, 8, 8), (8, 50, 50), (20, 32, 32), (21, 32, 32), (6, 80, 80)])
def test_one_item_is_convolved_as_several_are(shape):
    images, weight, bias = torch.rand(2, *shape), torch.rand(5, shape[0], 3, 3), torch.rand(5)
    with BatchInvariant():
        both, first = F.conv2d(images, weight, bias, padding=1), F.conv2d(images[:1], weight, bias, padding=1)
    assert torch.equal(both[:1], first), (images[0].numel(), SMALL)


def test_a_dense_layer_gives_each_item_the_same_in_any_batch():
    styles, weight, bias = torch.randn(8, 128), torch.randn(64, 128), torch.randn(64)
    with BatchInvariant():
        of_eight = F.linear(styles, weight, bias)
        for n in range(1, 8):
            assert torch.equal(F.linear(styles[:n], weight, bias), of_eight[:n])
            assert torch.equal(F.linear(styles[n:], weight, bias), of_eight[n:])
    torch.testing.assert_close(of_eight, F.linear(styles, weight, bias))


def test_a_projection_gives_each_item_the_same_in_any_batch():
    images, lq = torch.rand(4, 3, 18, 14), torch.rand(1, 3, 9, 7)  # items that begin anywhere in memory
    with BatchInvariant():
        of_four = project(images, lq.expand(4, -1, -1, -1))
        for j in range(4):
            assert torch.equal(project(images[j : j + 1].clone(), lq), of_four[j : j + 1])
    torch.testing.assert_close(of_four, project(images, lq.expand(4, -1, -1, -1)))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_samples_differ_by_rounding_at_most(tiny_tower):
    tower = tiny_tower(consistency="project").cuda()
    observed = Observed(torch.rand(1, 3, 6, 5, device="cuda"))
    of_eight, of_four = (sample_image(tower, observed, n, 0, "a", None, n) for n in (8, 4))
    assert (of_eight[:4] - of_four).abs().max() <= (GPU_STEPS + 0.5) / 255


@pytest.mark.parametrize("power", [lambda x: x**2.4, lambda x: x.pow(1 / 2.4), lambda x: torch.pow(x, 1 / 3)])
def test_powers_are_those_of_an_item_alone(power):
    images = torch.rand(7, 3, 5, 5, generator=torch.Generator().manual_seed(0))  # 75 values: no multiple of a vector
    with BatchInvariant():
        whole = power(images)
        for at, image in enumerate(images):
            assert torch.equal(power(image[None])[0], whole[at])


def test_a_colour_is_the_same_in_any_batch(tiny_tower):
    torch.manual_seed(0)
    options = {"placement": "same", "num_in_ch": 1, "head": "ab_over_lightness", "degradation": "lightness"}
    tower = tiny_tower(num_levels=2, trunk_channels=8, growth_channels=4, mapping_init="he", **options).eval()
    lq = torch.rand(1, 1, 10, 10, generator=torch.Generator().manual_seed(47))
    of_eight, alone = (sample_image(tower, lq, 8, 47, "x", max_samples_per_batch=most) for most in (8, 1))
    assert torch.equal(of_eight, alone)
