"""The plan follows the memory, and saving a sample does not exceed what was planned for it."""

from __future__ import annotations

import re
from functools import partial

import pytest
import torch

from tim_plugin.archs.stacked_arch import StackedGenerator
from tim_plugin.degradations.bicubic import Bicubic
from tim_plugin.degradations.jpeg import Jpeg
from tim_plugin.degradations.lightness import Lightness
from tim_plugin.degradations.unknown import Unknown
from tim_plugin.inference.arguments import GIB, Resources
from tim_plugin.inference.memory_plan import plan_for
from tim_plugin.inference.memory_use import activation_bytes
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.images import round_to_8_bit
from tim_plugin.utils.memory import peak_bytes
from tim_plugin.utils.trees import map_tensors

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    "degradation",
    [Bicubic(16), Lightness(), Jpeg(), Unknown()],
    ids=["bicubic", "lightness", "jpeg", "unknown"],
)
def test_saving_takes_the_memory_that_is_planned_for(degradation):
    gt, images = torch.rand(2, 1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    if degradation.projects:  # samples that do not agree with the input yet
        observed = map_tensors(lambda tensor: tensor[None], degradation.degrade(gt[0], torch.Generator()))
        save = partial(degradation.project_for_saving, images, observed)
    else:
        save = partial(round_to_8_bit, images)
    with torch.no_grad():
        taken = peak_bytes(save) + 4 * images.numel()
    planned = degradation.saving_bytes(3, 128, 128)
    assert 0.6 * planned <= taken <= planned


@pytest.mark.parametrize(("consistency", "copies"), [("project", 10.5), ("off", 3)])
def test_the_plan_follows_the_memory(tiny_tower, consistency, copies):
    tower = tiny_tower(consistency=consistency).eval()
    one = activation_bytes(tower.spec, 64, 64) + int(copies * 4 * 3 * 1024**2)
    plans = [
        plan_for(tower, 64, 64, CPU, Resources(memory_gib=one * times / 0.9 / GIB), 0) for times in (0.9, 1.1, 3.5, 99)
    ]
    assert [plan.tile_px > 0 for plan in plans] == [True, False, False, False]
    assert [plan.samples_per_batch for plan in plans] == [1, 1, 3, 16]
    assert plan_for(tower, 64, 64, CPU, Resources(tile=96), 0).tile_px == 96
    assert plan_for(tower, 64, 64, CPU, Resources(memory_gib=0.001, tile=0), 0).tile_px == 0
    with pytest.raises(TimError, match="--memory-gib 0.01: 1024x1024 pixels in tiles of 64 need") as caught:
        plan_for(tower, 64, 64, CPU, Resources(memory_gib=0.01), 0)
    needed = float(re.search(r"need ([\d.]+) GiB", str(caught.value)).group(1))
    assert plan_for(tower, 64, 64, CPU, Resources(memory_gib=needed, tile=64), 0).tile_px == 64
    with pytest.raises(TimError, match="a StackedGenerator cannot be run tile by tile: use --tile 0"):
        plan_for(StackedGenerator(num_stacks=2, width=4), 8, 8, CPU, Resources(tile=64), 0)
