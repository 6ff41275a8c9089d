"""What ``train`` may ask of an optimizer step: the same result in another way, clear errors, no step into NaN."""

from __future__ import annotations

import copy
import logging
from functools import partial

import pytest
import torch
from basicsr.models import build_model
from basicsr.models.base_model import BaseModel
from torch import nn

from tim_plugin.archs.levels import checkpoint_levels, compile_levels
from tim_plugin.degradations.base import Observed
from tim_plugin.imle.latents import Latents
from tim_plugin.imle.pyramid import condition_pyramid
from tim_plugin.models import optimisation
from tim_plugin.options.checks import check_options, check_steps
from tim_plugin.options.schema import TrainSpec
from tim_plugin.utils.errors import NonFiniteError, TimError

BATCH = 4


@pytest.fixture
def options(model_options):
    """Return a function that gives complete options, with keys of ``train`` and another network."""

    def made(network=None, **train):
        imle = {"samples_per_level": 2, "pool_size": BATCH, "reuse": 2, "search_batch": 2, "jitter": 0.1}
        optimizer = {"type": "Adam", "lr": 1e-3, "eps": 1e-4, **train.pop("optim_g", {})}
        found = model_options(BATCH, imle, optim_g=optimizer, **train)
        return found if network is None else {**found, "network_g": dict(network)}

    return made


@pytest.fixture
def build(options):
    """Return a function that builds a tiny TIMModel with keys of ``train``."""

    def builder(**train):
        torch.manual_seed(0)
        return build_model(options(**train))

    return builder


def step(model, iteration):
    generator = torch.Generator().manual_seed(iteration)
    batch = {
        "lq": torch.rand(BATCH, 3, 2, 2, generator=generator),
        "gt": torch.rand(BATCH, 3, 32, 32, generator=generator),
    }
    model.feed_data(batch)
    model.optimize_parameters(iteration)


def trained(model, steps=3):
    for iteration in range(1, steps + 1):
        step(model, iteration)
    return model


def farthest(a, b):
    return max(float((x - y).detach().abs().max()) for x, y in zip(a.parameters(), b.parameters(), strict=True))


@pytest.mark.parametrize(
    ("train", "tolerance"),
    [
        ({"accumulate": 2}, 1e-5),
        ({"accumulate": 3}, 1e-5),  # parts of 2 and 2
        ({"accumulate": 4}, 1e-5),
        ({"checkpoint_levels": True}, 0),
        ({"checkpoint_levels": True, "accumulate": 2, "clip_grad_norm": 1e9, "optim_g": {"fused": True}}, 1e-5),
        ({"clip_grad_norm": 1e9}, 0),
        ({"optim_g": {"fused": True}}, 1e-6),
        ({"amp": "off"}, 0),
        ({"amp": False}, 0),  # as YAML reads a bare off
    ],
)
def test_weights_and_average_are_those_of_the_plain_step(build, train, tolerance):
    plain, other = trained(build()), trained(build(**train))
    assert farthest(plain.net_g, other.net_g) <= tolerance
    assert farthest(plain.net_g_ema, other.net_g_ema) <= tolerance
    for name, value in plain.log_dict.items():
        assert other.log_dict[name] == pytest.approx(value, rel=1e-5), name


def test_the_plain_step_is_bit_for_bit_a_backward_pass_and_a_step(build):
    model, plain = build(), build()
    step(model, 1)
    plain.feed_data({"lq": model.lq, "gt": model.gt})
    plain.pool.offer({"lq": plain.lq, "gt": plain.gt})
    examples = plain.pool.next_batch(BATCH, partial(plain._search, 1))
    losses = plain._losses(examples.pyramids, plain._jittered(examples.latents, 1))
    torch.stack(tuple(losses.values())).sum().backward()
    plain.optimizer_g.step()
    assert farthest(model.net_g, plain.net_g) == 0


@pytest.mark.parametrize(("amp", "tolerance"), [("bf16", 3e-2), ("fp16", 5e-3)])
def test_half_precision_is_near_and_its_images_are_single(build, amp, tolerance):
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


def overflowing(model, iterations):
    """Make the gradient infinite in these iterations."""
    state = {"iteration": 0}
    model.net_g.levels[0].conv_first.bias.register_hook(
        lambda gradient: gradient * float("inf") if state["iteration"] in iterations else gradient
    )

    def go(iteration):
        state["iteration"] = iteration
        step(model, iteration)

    return go


def test_fp16_skips_a_step_that_overflows_says_so_and_goes_on(build, caplog, monkeypatch):
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


def test_fp16_that_never_recovers_is_an_error_with_the_weights_as_before(build, monkeypatch):
    monkeypatch.setattr(optimisation, "MOST_SKIPPED", 3)
    model = build(amp="fp16")
    go = overflowing(model, range(1, 100))
    before = copy.deepcopy(model.net_g)
    for iteration in (1, 2):
        go(iteration)
    with pytest.raises(NonFiniteError, match="iteration 3: .* in half precision.*use train: amp: bf16"):
        go(3)
    assert farthest(model.net_g, before) == 0


@pytest.mark.parametrize("where", ["forward", "backward"])
def test_a_step_that_does_not_fit_in_memory_is_one_error_with_the_weights_as_before(build, where, monkeypatch):
    """The allocator's own error, and what is asked for then does fit: the same step in four parts."""
    model = build()
    before = copy.deepcopy(model.net_g.state_dict())
    distance = model.distance.distance

    def crowded(found, wanted):
        distances = distance(found, wanted)
        if distances.requires_grad and len(distances) > 1:
            if where == "forward":
                torch.empty(2**60, dtype=torch.uint8)
            distances.register_hook(lambda gradient: torch.empty(2**60, dtype=torch.uint8))
        return distances

    monkeypatch.setattr(model.distance, "distance", crowded)
    with pytest.raises(TimError, match=r"1 / 1 of the batch does not fit in memory: raise train: accumulate.*gt_size"):
        step(model, 1)
    assert all(torch.equal(value, before[name]) for name, value in model.net_g.state_dict().items())
    divided = build(accumulate=BATCH)
    monkeypatch.setattr(divided.distance, "distance", crowded)
    step(divided, 1)
    assert not all(torch.equal(value, before[name]) for name, value in divided.net_g.state_dict().items())


def test_clipping_shortens_the_gradient_and_logs_its_norm(build):
    plain, clipped = build(), build(clip_grad_norm=1e-3)
    for model in (plain, clipped):
        step(model, 1)
    norms = [float(nn.utils.get_total_norm([p.grad for p in model.net_g.parameters()])) for model in (plain, clipped)]
    assert norms[0] > 1e-3 and norms[1] == pytest.approx(1e-3, rel=1e-3)
    assert clipped.log_dict["grad_norm"] == pytest.approx(norms[0], rel=1e-5) and "grad_norm" not in plain.log_dict


def test_the_average_is_basicsrs_and_decay_0_copies(build):
    model = trained(build(), 1)
    wanted = copy.deepcopy(model)
    BaseModel.model_ema(wanted, 0.7)
    model.model_ema(0.7)
    assert farthest(model.net_g_ema, wanted.net_g_ema) < 1e-6
    model.model_ema(0)
    assert farthest(model.net_g_ema, model.net_g) == 0


def test_checkpoints_keep_less_for_the_backward_pass(tiny_tower):
    kept, lq = [], torch.rand(1, 3, 2, 2)
    for tower in (tiny_tower(), tiny_tower()):
        if kept:
            checkpoint_levels(tower)
        sizes = {}
        latents = Latents.draw(tower.latent_shapes(2, 2), 1, torch.Generator().manual_seed(0))
        conditions = condition_pyramid(Observed(lq), tower.spec, tower.degradation)

        def pack(tensor, sizes=sizes):
            sizes[tensor.untyped_storage()._cdata] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            images = tower(conditions, latents)
        kept.append((sum(sizes.values()), images))
    assert kept[1][0] < kept[0][0] / 5
    assert torch.equal(kept[0][1][-1], kept[1][1][-1])


def test_compiled_levels_train_alike_and_searches_run_them_as_they_are(build, monkeypatch):
    """Traced by torch.compile but not turned into machine code, which takes minutes."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    plain, compiled = trained(build(), 2), build(compile=True)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    with torch.no_grad():
        conditions, _ = compiled.search.pyramids({"lq": torch.rand(3, 3, 2, 2), "gt": torch.rand(3, 3, 32, 32)})
        compiled.net_g(conditions, Latents.draw(compiled.net_g.latent_shapes(2, 2), 3))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 0
    trained(compiled, 2)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] >= 4
    assert farthest(plain.net_g, compiled.net_g) < 1e-5
    assert set(plain.net_g.state_dict()) == set(compiled.net_g.state_dict())


def test_compiling_without_a_compiler_is_an_error(tiny_tower, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(TimError, match="torch.compile needs a C\\+\\+ compiler .*use false"):
        compile_levels(tiny_tower(), torch.device("cpu"))


def test_a_compiler_that_fails_is_one_error(build, monkeypatch):
    def broken(graph, inputs):
        raise OSError("cc1plus: out of memory")

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=broken))
    with pytest.raises(TimError, match="train: compile: torch.compile failed .*out of memory.*use compile: false"):
        step(build(compile=True), 1)


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ({"amp": "fp8"}, "train: amp 'fp8' is not known"),
        ({"acumulate": 2}, "train: unknown key 'acumulate': did you mean 'accumulate'"),
        ({"accumulate": 0}, "train: accumulate must be at least 1"),
        ({"accumulate": 8}, "accumulate 8 splits a batch of batch_size_per_gpu 4: use accumulate: 4 at most"),
        ({"clip_grad_norm": "1e-1"}, "train: clip_grad_norm is the text '1e-1'"),
        ({"clip_grad_norm": 0}, "clip_grad_norm 0 would stop all learning"),
        ({"checkpoint_levels": "yes please"}, "train: checkpoint_levels must be true or false"),
        ({"fsdp": True}, "train: fsdp divides the network over processes, and there is one: torchrun"),
        ({"fsdp": True, "amp": "fp16"}, "fsdp has no loss scale.*use amp: bf16"),
        ({"fsdp": True, "compile": True}, "fsdp does not go with compile"),
        ({"optim_g": {"fused": 1}}, "train: optim_g: fused must be true or false"),
        ({"optim_g": {"fused": True, "foreach": True}}, "fused and foreach are two ways"),
    ],
)
def test_a_mistake_is_named_before_training(build, train, message):
    with pytest.raises(TimError, match=message):
        build(**train)


def test_an_optimizer_without_a_fused_form_is_named():
    with pytest.raises(TimError, match="fused: Adadelta has no fused form, Adam, AdamW, SGD have"):
        check_steps({"optim_g": {"type": "Adadelta", "fused": True}}, 4)


def test_the_options_of_a_published_file_are_the_plain_step(options):
    opt = options()
    check_options(opt)
    assert TrainSpec.from_options(opt["train"]) == TrainSpec()


def baseline(options, network, **train):
    opt = {**options(network, **train), "model_type": "BaselineModel", "scale": 1}
    opt.pop("imle")
    opt["train"]["perceptual_opt"] = None
    opt["train"].setdefault("pixel_opt", {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"})
    torch.manual_seed(0)
    return build_model(opt)


def baseline_step(model):
    generator = torch.Generator().manual_seed(0)
    model.feed_data({key: torch.rand(BATCH, 3, 16, 16, generator=generator) for key in ("lq", "gt")})
    model.optimize_parameters(1)
    return model


def test_a_compared_system_takes_the_same_ways(options):
    network = {"type": "DnCNN", "num_feat": 4, "num_layers": 4, "batch_norm": False}
    plain = baseline_step(baseline(options, network))
    parts = baseline_step(baseline(options, network, accumulate=4, clip_grad_norm=1e9))
    half = baseline_step(baseline(options, network, amp="bf16"))
    assert farthest(plain.net_g, parts.net_g) < 1e-5
    assert parts.log_dict["l_pix"] == pytest.approx(plain.log_dict["l_pix"], rel=1e-5)
    assert half.output.dtype == torch.float32 and 0 < farthest(plain.net_g, half.net_g) < 3e-3


@pytest.mark.parametrize(
    ("network", "train", "message"),
    [
        ({"type": "DnCNN", "num_feat": 4, "num_layers": 4}, {"accumulate": 2}, "BatchNorm2d sees a part of it only"),
        (
            {"type": "DnCNN", "num_feat": 4, "num_layers": 4, "batch_norm": False},
            {"accumulate": 2, "pixel_opt": {"type": "L1Loss", "loss_weight": 1.0, "reduction": "sum"}},
            "pixel_opt has reduction: sum",
        ),
        ({"type": "DnCNN", "num_feat": 4, "num_layers": 4}, {"checkpoint_levels": True}, "DnCNN has no levels"),
    ],
)
def test_what_a_compared_system_cannot_do_is_an_error(options, network, train, message):
    with pytest.raises(TimError, match=message):
        baseline(options, network, **train)
