"""Beyond the paper: images and targets that are moved alike before their distance is taken."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.nn import functional as F

from tim_plugin.imle.pyramid import moved
from tim_plugin.imle.types import Known, Weighted
from tim_plugin.models import pool_search

MOST = 3


@pytest.fixture
def shifted(build):
    """Return a function that builds a tiny TIMModel whose distance has a stride, and so depends on the position."""

    def builder(shift_px=MOST):
        perceptual = {"type": "PerceptualDistanceLoss", "backbone": "tim_small", "weights": "bundled"}
        model = build(perceptual_opt={**perceptual, "calibration": "bundled"})
        model.imle = replace(model.imle, shift_px=shift_px)
        return model

    return builder


def test_an_image_lies_at_its_offset_with_its_edge_around_it():
    image = torch.rand(2, 3, 5, 7)
    found = moved(image, (1, 3), MOST)
    assert found.shape == (2, 3, 8, 10) and torch.equal(found[:, :, 1:6, 3:], image)
    assert torch.equal(found[:, :, 0, 3:], image[:, :, 0]) and torch.equal(found[:, :, -1, 3:], image[:, :, -1])
    weighted = moved(Known([image], Weighted(image, image[:, :1])), (1, 3), MOST)
    assert torch.equal(weighted.image, found) and torch.equal(weighted.weight, found[:, :1])


def test_each_step_has_its_own_seeded_offset(shifted):
    model = shifted()
    offsets = [model._offset(iteration) for iteration in range(200)]
    assert set(offsets) == {(down, right) for down in range(MOST + 1) for right in range(MOST + 1)}
    assert offsets == [shifted()._offset(iteration) for iteration in range(200)]
    assert shifted(0)._offset(1) is None


def test_the_loss_is_that_of_the_moved_images_and_the_search_is_as_before(shifted, step):
    model = shifted()
    step(model, 1)
    plain = shifted(0)
    plain.feed_data({"lq": model.lq, "gt": model.gt})
    plain.pool.offer({"lq": plain.lq, "gt": plain.gt})
    examples = plain.pool.next_batch(len(plain.lq), partial(plain._search, 1))
    assert plain.selected_distance == model.selected_distance
    with torch.no_grad():
        image = plain.net_g(examples.pyramids.conditions, plain._jittered(examples.latents, 1))[-1]
    down, right = model._offset(1)
    assert (down, right) != (0, 0)
    frame = (right, MOST - right, down, MOST - down)
    pairs = [F.pad(one, frame, mode="replicate") for one in (image, examples.batch["gt"])]
    assert model.log_dict["l_level4"] == pytest.approx(float(plain.distance(*pairs).mean()), rel=1e-5)


def test_kept_features_change_nothing(shifted, step, farthest, monkeypatch):
    kept, plain = shifted(), shifted()
    for iteration in (1, 2, 3):
        step(kept, iteration)
    monkeypatch.setattr(pool_search, "KEPT_BYTES", 0)
    for iteration in (1, 2, 3):
        step(plain, iteration)
    assert isinstance(kept.pool.current.pyramids.targets[0], Known)
    assert not isinstance(plain.pool.current.pyramids.targets[0], Known)
    assert farthest(kept.net_g, plain.net_g) == 0
