"""A tower that keeps a temperature gives at 1 what it gave at that temperature."""

from __future__ import annotations

import pytest
import torch

from tim_plugin.archs.tower_arch import TowerGenerator
from tim_plugin.inference.image_samples import sample_image
from towers.temperature import keep_temperature

SMALL = {"trunk_channels": 6, "growth_channels": 4, "num_blocks": 1, "num_levels": 2, "mapping_init": "he"}


@pytest.mark.parametrize(
    "options",
    [{}, {"weight_norm": False}, {"mapping": False}, {"feature_scale": 0.0}, {"condition_every_level": True}],
    ids=str,
)
def test_a_kept_temperature_is_what_sampling_at_it_gave(options):
    torch.manual_seed(0)
    tower = TowerGenerator(**SMALL, **options).eval()
    lq = torch.rand(1, 3, 6, 5)
    plain, wanted = (sample_image(tower, lq, 2, 0, 0, temperature=value) for value in (1.0, 2.0))
    keep_temperature(tower, 2.0)
    found = sample_image(tower, lq, 2, 0, 0)
    assert (found - wanted).abs().max() <= 1 / 255  # samples are on the 8-bit grid
    assert (plain - wanted).abs().max() > 3 / 255
    assert all(isinstance(one, torch.nn.Parameter) for one in tower.parameters())
