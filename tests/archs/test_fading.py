"""Details are faded where the LQ is flat, and left alone where it is not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tim_plugin.archs import fading
from tim_plugin.archs.fading import faded, kept_share
from tim_plugin.imle.latents import Latents
from tim_plugin.imle.pyramid import Observed, condition_pyramid
from tim_plugin.utils import strips
from tim_plugin.utils.resize import bicubic_resize


def test_what_is_kept_is_the_local_deviation_over_the_contrast():
    torch.manual_seed(0)
    lq = torch.rand(2, 3, 4, 5) * 0.2 + 0.4
    grey = np.pad(lq.mean(dim=1).numpy(), ((0, 0), (1, 1), (1, 1)), mode="edge")
    for n, y, x in np.ndindex(2, 4, 5):
        expected = min(grey[n, y : y + 3, x : x + 3].std() / 0.04, 1)
        assert float(kept_share(lq, 0.04)[n, 0, y, x]) == pytest.approx(expected, abs=1e-3)


def test_a_flat_input_gets_no_details_and_a_rough_one_keeps_them():
    images = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    flat = torch.full((1, 3, 4, 4), 0.7)
    assert torch.allclose(faded(images, flat, 0.1), torch.full_like(images, 0.7), atol=1e-2)
    board = (torch.arange(4)[:, None] + torch.arange(4)) % 2
    rough = board.float().expand(1, 3, 4, 4)
    assert torch.allclose(faded(images, rough, 0.1), images, atol=1e-5)
    half = flat + 0.05 * (rough - 0.5)  # of about a quarter of the contrast
    share = bicubic_resize(kept_share(half, 0.1), (32, 32))
    base = bicubic_resize(half, (32, 32))
    assert 0.2 < float(share.mean()) < 0.3
    assert torch.allclose(faded(images, half, 0.1), base + share * (images - base), atol=1e-5)


def test_very_large_images_are_faded_strip_by_strip(monkeypatch):
    images, lq = torch.rand(1, 3, 40, 24), torch.rand(1, 3, 5, 3) * 0.1
    whole = faded(images, lq, 0.1)
    monkeypatch.setattr(strips, "VERY_LARGE", 100)
    monkeypatch.setattr(strips, "STRIP_VALUES", 500)
    assert len(list(strips.strips(images))) > 3
    assert torch.allclose(faded(images, lq, 0.1), whole, atol=1e-6)


def test_a_tower_fades_each_level_and_still_agrees_with_its_input(tiny_tower, monkeypatch):
    tower = tiny_tower(consistency="project", fade_contrast=0.1)
    lq = torch.full((1, 3, 3, 5), 0.25)
    conditions = condition_pyramid(Observed(lq), tower.spec, tower.degradation)
    images = tower(conditions, Latents.draw(tower.latent_shapes(3, 5), 1))
    for image in images:
        assert torch.allclose(image, torch.full_like(image, 0.25), atol=2e-2)
        assert torch.allclose(bicubic_resize(image, (3, 5)), lq, atol=1e-5)
    monkeypatch.setattr(fading, "kept_share", lambda lq, contrast: torch.ones_like(lq[:, :1]))
    assert not torch.allclose(tower(conditions, Latents.draw(tower.latent_shapes(3, 5), 1))[-1], images[-1], atol=2e-2)
