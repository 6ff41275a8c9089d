"""EnergyScoreModel: a step by hand, in parts, by the iteration alone; and its mistakes."""

from __future__ import annotations

import pytest
import torch
from basicsr.models import build_model

from tim_plugin.imle.latents import Latents
from tim_plugin.imle.pyramid import pyramids_of
from tim_plugin.losses.energy_score import energy_score
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.seeds import keyed_generator

BATCH = 4  # as in conftest.py


@pytest.fixture
def energy_options(step_options):
    """Return a function that gives complete options, with keys of ``train``."""

    def made(**train):
        opt = {**step_options(**train), "model_type": "EnergyScoreModel"}
        opt.pop("imle")
        return opt

    return made


@pytest.fixture
def trained(energy_options, step):
    """Return a function that builds a tiny model and lets it take the named steps."""

    def run(iterations, **train):
        torch.manual_seed(0)
        model = build_model(energy_options(**train))
        for iteration in iterations:
            step(model, iteration)
        return model

    return run


def test_the_losses_are_the_energy_scores_of_two_samples_at_each_level(trained, step):
    model = trained([])
    generator = torch.Generator().manual_seed(3)
    lq, gt = (torch.rand(BATCH, 3, side, side, generator=generator) for side in (2, 32))
    pyramids, drawing = pyramids_of({"lq": lq, "gt": gt}, model.net_g), keyed_generator("energy", 0, 0, 3)
    latents = [Latents.draw(model.net_g.latent_shapes(2, 2), BATCH, drawing) for _ in range(2)]
    with torch.no_grad():
        first, second = (model.net_g(pyramids.conditions, one) for one in latents)
    step(model, 3)
    for level, target in enumerate(pyramids.targets):
        samples = [model.distance.features(one[level]) for one in (first, second)]
        expected = energy_score(model.distance, samples, model.distance.features(target)).mean()
        assert model.log_dict[f"l_level{level + 1}"] == pytest.approx(float(expected), rel=1e-4)
    assert set(model.log_dict) == {"l_total", *(f"l_level{k}" for k in range(1, 5))}


def test_a_batch_in_parts_is_the_whole_one_and_draws_depend_on_the_iteration(trained, farthest):
    whole, parts = trained([1, 2]), trained([1, 2], accumulate=2)
    assert farthest(whole.net_g, parts.net_g) < 1e-5
    still = {"optim_g": {"lr": 0.0}}
    assert trained([1, 2], **still).log_dict == trained([2], **still).log_dict
    assert len(whole.optimizer_g.param_groups) == 2  # the mapping networks have a rate of their own


@pytest.mark.parametrize(
    ("section", "value", "message"),
    [
        ("imle", {"reuse": 2}, "imle: only TIMModel searches"),
        ("network_g", {"type": "DnCNN", "num_feat": 4, "num_layers": 4}, "type DnCNN has no levels"),
        ("pixel_opt", {"type": "L1Loss"}, "pixel_opt is not used by EnergyScoreModel, which trains on perceptual_opt"),
        ("perceptual_opt", None, "train: perceptual_opt is missing"),
    ],
)
def test_mistakes_are_named(energy_options, section, value, message):
    opt = energy_options()
    (opt["train"] if section.endswith("_opt") else opt)[section] = value
    with pytest.raises(TimError, match=message):
        build_model(opt)
