"""TIMModel with ``imle: energy_score``: what is added by hand, in parts, and what it does to samples."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from basicsr.models import build_model

from tim_plugin.imle.latents import Latents
from tim_plugin.imle.pyramid import moved
from tim_plugin.imle.types import features_of_target
from tim_plugin.losses.energy_score import energy_score
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.seeds import keyed_generator
from tim_plugin.utils.trees import tile

BATCH = 4  # as in conftest.py


@pytest.fixture
def build_with(step_options):
    """Return a function that builds a tiny TIMModel with keys of ``imle``, the same for the same keys."""

    def builder(accumulate=1, **imle):
        opt = step_options(accumulate=accumulate)
        opt["imle"].update(imle)
        torch.manual_seed(0)
        return build_model(opt)

    return builder


@pytest.mark.parametrize("shift_px", [0, 3])
def test_each_level_adds_the_energy_score_of_two_fresh_samples(build_with, step, shift_px):
    model, other = (build_with(energy_score=0.7, shift_px=shift_px) for _ in range(2))
    step(model, 1)
    generator = torch.Generator().manual_seed(1)
    lq, gt = (torch.rand(BATCH, 3, side, side, generator=generator) for side in (2, 32))
    other.pool.offer({"lq": lq, "gt": gt})
    examples = other.pool.next_batch(BATCH, partial(other._search, 1))
    drawing = keyed_generator("energy", 0, 0, 1)
    fresh = [Latents.draw(other.net_g.latent_shapes(2, 2), BATCH, drawing) for _ in range(2)]
    offset, move = other._offset(1), lambda image: image
    if shift_px:
        move = partial(moved, offset=offset, most=shift_px)
    with torch.no_grad():
        chosen, *samples = (
            other.net_g(examples.pyramids.conditions, one) for one in (other._jittered(examples.latents, 1), *fresh)
        )
    features = other.distance.features
    for level, target in enumerate(examples.pyramids.targets):
        wanted = features_of_target(other.distance, move(target))
        distance = other.distance.distance(features(move(chosen[level])), wanted).mean()
        score = energy_score(other.distance, [features(move(one[level])) for one in samples], wanted).mean()
        assert model.log_dict[f"l_level{level + 1}"] == pytest.approx(float(distance), rel=1e-4)
        assert model.log_dict[f"l_energy_level{level + 1}"] == pytest.approx(0.7 * float(score), rel=1e-4)


def test_a_batch_in_parts_is_the_whole_one(build_with, step, farthest):
    whole, parts = build_with(energy_score=1.0), build_with(energy_score=1.0, accumulate=2)
    for iteration in (1, 2):
        step(whole, iteration)
        step(parts, iteration)
    assert farthest(whole.net_g, parts.net_g) < 1e-5


def test_without_it_nothing_is_drawn_and_nothing_added(build_with, step, farthest):
    plain, zero, more = build_with(), build_with(energy_score=0.0), build_with(energy_score=1.0)
    for model in (plain, zero, more):
        step(model, 1)
    assert farthest(plain.net_g, zero.net_g) == 0 and farthest(plain.net_g, more.net_g) > 0
    assert not any("energy" in name for name in zero.log_dict)


def test_samples_differ_more_with_it(build_with, step):
    def spread(model):
        for _ in range(12):
            step(model, 1)  # the same targets
        conditions = model.search.pyramids({"lq": model.lq[:1], "gt": model.gt[:1]}).conditions
        shapes = model.net_g.latent_shapes(2, 2)
        with torch.no_grad():
            images = model.net_g(tile(conditions, 16), Latents.draw(shapes, 16, torch.Generator().manual_seed(5)))
        return float(images[-1].var(dim=0).mean())

    assert spread(build_with(energy_score=20.0)) > 1.2 * spread(build_with())


@pytest.mark.parametrize("value", [-1, "much", float("nan")])
def test_what_is_no_weight_is_refused(build_with, value):
    with pytest.raises(TimError, match="imle: energy_score"):
        build_with(energy_score=value)
