"""TIMModel inside BasicSR's conventions: steps, pool, EMA, NaN."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from basicsr.utils.registry import MODEL_REGISTRY

from support.tiny_runs import batch, build, same, train, weights
from tim_plugin.imle.search import hierarchical
from tim_plugin.utils.errors import NonFiniteError
from tim_plugin.utils.seeds import keyed_generator


def test_registered_and_built_by_name(options):
    assert type(build(options())) is MODEL_REGISTRY.get("TIMModel")


def test_one_iteration_is_one_step_and_logs_every_level(options):
    model = build(options())
    before, ema_before = weights(model.net_g), weights(model.net_g_ema)
    steps = []
    model.on_step = lambda iteration, log: steps.append((iteration, dict(log)))
    train(model, 1, 5)
    assert [iteration for iteration, _ in steps] == [1, 2, 3, 4, 5]
    assert set(steps[-1][1]) == {"l_total", "l_level1", "l_level2", "l_level3", "l_level4", "d_selected"}
    assert not same(before, weights(model.net_g))
    assert not same(ema_before, weights(model.net_g_ema)) and not same(weights(model.net_g), weights(model.net_g_ema))
    assert steps[0][1]["l_total"] == pytest.approx(steps[0][1]["d_selected"], rel=1e-4)  # before any step: the same


def test_the_mapping_network_learns_at_a_hundredth(options):
    groups = build(options()).optimizer_g.param_groups
    assert [group["lr"] for group in groups] == pytest.approx([1e-2, 1e-4])
    opt = options()
    opt["train"]["optim_g"]["mapping_lr_mult"] = 1.0
    assert [group["lr"] for group in build(opt).optimizer_g.param_groups] == [1e-2, 1e-2]
    opt = options()
    opt["network_g"]["mapping"] = False
    assert len(build(opt).optimizer_g.param_groups) == 1


def test_reuse_one_equals_a_search_at_every_step(options):
    opt = options(reuse=1)
    model, found = build(opt), []
    train(model, 1, 2)
    reference = build(options(reuse=1))
    for iteration in (1, 2):
        data = batch(iteration)
        reference.update_learning_rate(iteration)
        pyramids = reference.search.pyramids(data)
        latents = hierarchical(
            reference.net_g,
            reference.distance,
            *pyramids,
            [3] * 4,
            keyed_generator("search", 0, 0, iteration),
        ).latents
        order = torch.randperm(2, generator=keyed_generator("pool", 0, 0, iteration - 1))
        reference.optimizer_g.zero_grad()
        shuffled = reference.search.pyramids({key: data[key][order] for key in ("lq", "gt")})
        sum(reference._losses(shuffled, [latents.index(order)]).values()).backward()
        reference.optimizer_g.step()
        found.append(order)
    for mine, theirs in zip(model.net_g.parameters(), reference.net_g.parameters(), strict=True):
        assert torch.allclose(mine, theirs, atol=1e-6)


@pytest.mark.parametrize(
    "change",
    [
        {"sampling": "vanilla"},
        {"intermediate_supervision": False},
        {"samples_per_level": 5},
        {"samples_per_level": [1, 2, 3, 4]},
        {"reuse": 1},
        {"sampling": "vanilla", "intermediate_supervision": False},
    ],
)
def test_each_search_option_changes_the_training(options, change):
    base, other = build(options()), build(options(**change))
    train(base, 1, 3)
    train(other, 1, 3)
    assert not same(weights(base.net_g), weights(other.net_g))


@pytest.mark.parametrize("image_below", ["signed", "none"])
def test_the_authors_networks_train_without_supervision_of_lower_levels(options, image_below):
    opt = options(intermediate_supervision=False)
    opt["network_g"]["image_below"] = image_below
    model = build(opt)
    before = weights(model.net_g)
    train(model, 1, 2)
    assert set(model.get_current_log()) >= {"l_total", "l_level4"} and "l_level1" not in model.get_current_log()
    changed = {name for name, value in weights(model.net_g).items() if not torch.equal(value, before[name])}
    assert any(name.startswith("levels.0.conv_first") for name in changed)  # the last level's loss reaches the first
    heads = any(name.startswith("levels.0.conv_last") for name in changed)  # and the first's head where it is read
    assert heads == (image_below == "signed")


def test_chunks_of_the_search_do_not_change_the_training(options):
    base, other = build(options()), build(options(max_candidates_per_batch=2))
    train(base, 1, 4)
    train(other, 1, 4)
    for mine, theirs in zip(base.net_g.parameters(), other.net_g.parameters(), strict=True):
        assert torch.allclose(mine, theirs, atol=1e-4)


@pytest.mark.parametrize("change", [{"channels_last": True}, {"search_memory_gib": 1e-3}])
def test_how_the_search_is_run_does_not_change_the_training(options, change):
    base, other = build(options()), build(options(**change))
    train(base, 1, 4)
    train(other, 1, 4)
    for mine, theirs in zip(base.net_g.parameters(), other.net_g.parameters(), strict=True):
        assert torch.allclose(mine, theirs, atol=1e-4)


def test_an_inexact_search_trains_and_reports_exact_distances(options):
    opt = options(search_precision="bf16", samples_per_level=6)
    opt["train"]["perceptual_opt"] = {
        "type": "PerceptualDistanceLoss",
        "backbone": "squeezenet1_1",
        "weights": "random",
        "calibration": "none",
    }
    model = build(opt)
    pyramids = model.search.pyramids(batch(1))
    with torch.no_grad():
        images = model.net_g(pyramids.conditions, model._search(1, batch(1), pyramids))
        distances = [model.distance(image, target) for image, target in zip(images, pyramids.targets, strict=True)]
    assert model.selected_distance == pytest.approx(float(sum(distances).mean()), rel=1e-4)
    train(model, 1, 3)
    assert all(torch.isfinite(p).all() for p in model.net_g.parameters())


def test_chimle_trains_with_mapping_networks_that_see_those_below(options):
    opt = options(sampling="chimle", samples_per_level=[5, 4, 2, 1])
    opt["network_g"]["mapping_sees_below"] = True
    model = build(opt)
    before = weights(model.net_g)
    train(model, 1, 3)
    assert not same(before, weights(model.net_g))


@pytest.mark.parametrize("reuse", [1, 3])
def test_a_resumed_run_equals_an_unbroken_one(options, reuse):
    """20 iterations, saved at the 13th: schedule, optimizer state, weights and EMA are the same bits."""
    unbroken = build(options(reuse=reuse))
    train(unbroken, 1, 20)
    first = build(options(reuse=reuse))
    train(first, 1, 13)
    first.save(0, 13)
    opt = options(reuse=reuse)
    opt["path"]["pretrain_network_g"] = str(Path(opt["path"]["models"]) / "net_g_13.pth")
    resumed = build(opt)
    resumed.resume_training(torch.load(Path(opt["path"]["training_states"]) / "13.state", weights_only=True))
    train(resumed, 14, 20)
    assert same(weights(unbroken.net_g), weights(resumed.net_g))
    assert same(weights(unbroken.net_g_ema), weights(resumed.net_g_ema))
    assert unbroken.get_current_learning_rate() == resumed.get_current_learning_rate()
    states = [model.optimizer_g.state_dict() for model in (unbroken, resumed)]
    assert states[0]["param_groups"] == states[1]["param_groups"]
    for key, value in states[0]["state"].items():
        assert same(value, states[1]["state"][key])


def test_a_nan_loss_stops_before_the_weights_and_names_level_and_iteration(options):
    model = build(options())
    train(model, 1, 2)
    clean = weights(model.net_g)

    def break_level_3(images):
        return [torch.full_like(images, float("nan")) if images.shape[-1] == 16 and images.requires_grad else images]

    model.distance.features = break_level_3
    with pytest.raises(NonFiniteError, match=r"iteration 3: the loss l_level3 is nan"):
        train(model, 3, 3)
    assert same(clean, weights(model.net_g))


def test_a_nan_gradient_stops_before_the_weights(options):
    model = build(options())
    train(model, 1, 1)
    clean = weights(model.net_g)
    model.net_g.levels[0].conv_first.bias.register_hook(lambda gradient: gradient * float("nan"))
    with pytest.raises(NonFiniteError, match="iteration 2: the gradient is nan"):
        train(model, 2, 2)
    assert same(clean, weights(model.net_g))
