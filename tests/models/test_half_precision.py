"""Steps in half precision: near the plain ones, samples stay consistent, no step into NaN."""

from __future__ import annotations

import copy
import logging

import pytest
import torch

from tim_plugin.degradations.base import Observed
from tim_plugin.imle.latents import Latents
from tim_plugin.imle.pyramid import condition_pyramid
from tim_plugin.models import optimisation
from tim_plugin.utils.errors import NonFiniteError

BATCH = 4  # as in conftest.py


@pytest.fixture
def overflowing(step):
    """Return a function that makes a model's gradient infinite in some iterations, and gives what takes a step."""

    def made(model, iterations):
        state = {"iteration": 0}
        model.net_g.levels[0].conv_first.bias.register_hook(
            lambda gradient: gradient * float("inf") if state["iteration"] in iterations else gradient
        )

        def go(iteration):
            state["iteration"] = iteration
            step(model, iteration)

        return go

    return made


@pytest.mark.parametrize(("amp", "tolerance"), [("bf16", 3e-2), ("fp16", 5e-3)])
def test_half_precision_is_near_and_its_images_are_single(build, amp, tolerance, step):
    plain, half = build(), build(amp=amp)
    for model in (plain, half):
        step(model, 1)
    gradients = [torch.cat([p.grad.flatten() for p in model.net_g.parameters()]) for model in (plain, half)]
    difference = (gradients[1] - gradients[0]).norm() / gradients[0].norm()
    assert 0 < difference < tolerance
    assert half.log_dict["l_total"] == pytest.approx(plain.log_dict["l_total"], rel=tolerance)
    conditions, _ = half.search.pyramids({"lq": half.lq, "gt": half.gt})
    latents = Latents.draw(half.net_g.latent_shapes(2, 2), BATCH, torch.Generator().manual_seed(0))
    with half.step.autocast():
        images = half.net_g(conditions, latents)
    assert all(image.dtype == torch.float32 for image in images)


def test_half_precision_keeps_samples_consistent(tiny_tower):
    tower = tiny_tower(consistency="project")
    lq = torch.randint(80, 170, (2, 3, 4, 4), generator=torch.Generator().manual_seed(0)) / 255
    conditions = condition_pyramid(Observed(lq), tower.spec, tower.degradation)
    latents = Latents.draw(tower.latent_shapes(4, 4), 2, torch.Generator().manual_seed(1))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        image = tower(conditions, latents)[-1]
    assert tower.degradation.measure(image, Observed(lq))["lr_psnr"].min() > 80


def test_fp16_skips_a_step_that_overflows_says_so_and_goes_on(build, caplog, monkeypatch, farthest, overflowing):
    model = build(amp="fp16")
    go = overflowing(model, {2})
    monkeypatch.setattr(logging.getLogger("basicsr"), "propagate", True)
    go(1)
    weights, average = copy.deepcopy(model.net_g), copy.deepcopy(model.net_g_ema)
    scale = model.log_dict["loss_scale"]
    with caplog.at_level("WARNING", logger="basicsr"):
        go(2)
    assert farthest(model.net_g, weights) == 0 and farthest(model.net_g_ema, average) == 0
    assert model.log_dict["loss_scale"] == scale / 2
    assert "Iteration 2: the gradient is too large for half precision; the step is skipped (1 in a row)" in caplog.text
    go(3)
    assert farthest(model.net_g, weights) > 0 and model.step.skipped == 0
    state = model.own_state()
    fresh = build(amp="fp16")
    fresh.load_own_state(state)
    assert fresh.step.scaler.get_scale() == scale / 2


def test_fp16_that_never_recovers_is_an_error_with_the_weights_as_before(build, monkeypatch, farthest, overflowing):
    monkeypatch.setattr(optimisation, "MOST_SKIPPED", 3)
    model = build(amp="fp16")
    go = overflowing(model, range(1, 100))
    before = copy.deepcopy(model.net_g)
    for iteration in (1, 2):
        go(iteration)
    with pytest.raises(NonFiniteError, match="iteration 3: .* in half precision.*use train: amp: bf16"):
        go(3)
    assert farthest(model.net_g, before) == 0
