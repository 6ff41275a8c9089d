"""What ``train`` may ask of an optimizer step: the same result in another way, and errors before training."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from basicsr.models.base_model import BaseModel
from torch import nn

from tim_plugin.options.checks import check_options
from tim_plugin.options.schema import TrainSpec
from tim_plugin.options.train_checks import check_steps
from tim_plugin.utils.errors import TimError

BATCH = 4  # as in conftest.py


@pytest.fixture
def trained(step):
    """Return a function that lets a model take some steps and gives it back."""

    def take(model, steps=3):
        for iteration in range(1, steps + 1):
            step(model, iteration)
        return model

    return take


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
def test_weights_and_average_are_those_of_the_plain_step(build, train, tolerance, farthest, trained):
    plain, other = trained(build()), trained(build(**train))
    assert farthest(plain.net_g, other.net_g) <= tolerance
    assert farthest(plain.net_g_ema, other.net_g_ema) <= tolerance
    for name, value in plain.log_dict.items():
        assert other.log_dict[name] == pytest.approx(value, rel=1e-5), name


def test_the_plain_step_is_bit_for_bit_a_backward_pass_and_a_step(build, step, farthest):
    model, plain = build(), build()
    step(model, 1)
    plain.feed_data({"lq": model.lq, "gt": model.gt})
    plain.pool.offer({"lq": plain.lq, "gt": plain.gt})
    examples = plain.pool.next_batch(BATCH, partial(plain._search, 1))
    losses = plain._losses(examples.pyramids, [plain._jittered(examples.latents, 1)])
    torch.stack(tuple(losses.values())).sum().backward()
    plain.optimizer_g.step()
    assert farthest(model.net_g, plain.net_g) == 0


@pytest.mark.parametrize("where", ["forward", "backward"])
def test_a_step_that_does_not_fit_in_memory_is_one_error_with_the_weights_as_before(build, where, monkeypatch, step):
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
    in_parts = build(accumulate=BATCH)
    monkeypatch.setattr(in_parts.distance, "distance", crowded)
    step(in_parts, 1)
    assert not all(torch.equal(value, before[name]) for name, value in in_parts.net_g.state_dict().items())


def test_clipping_shortens_the_gradient_and_logs_its_norm(build, step):
    plain, clipped = build(), build(clip_grad_norm=1e-3)
    for model in (plain, clipped):
        step(model, 1)
    norms = [float(nn.utils.get_total_norm([p.grad for p in model.net_g.parameters()])) for model in (plain, clipped)]
    assert norms[0] > 1e-3 and norms[1] == pytest.approx(1e-3, rel=1e-3)
    assert clipped.log_dict["grad_norm"] == pytest.approx(norms[0], rel=1e-5) and "grad_norm" not in plain.log_dict


def test_the_average_is_basicsrs_and_decay_0_copies(build, farthest, trained):
    model = trained(build(), 1)
    wanted = copy.deepcopy(model)
    BaseModel.model_ema(wanted, 0.7)
    model.model_ema(0.7)
    assert farthest(model.net_g_ema, wanted.net_g_ema) < 1e-6
    model.model_ema(0)
    assert farthest(model.net_g_ema, model.net_g) == 0


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
        ({"fsdp": True}, "train: fsdp shards the network over processes, and there is one: torchrun"),
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


def test_the_options_of_a_published_file_are_the_plain_step(step_options):
    opt = step_options()
    check_options(opt)
    assert TrainSpec.from_options(opt["train"]) == TrainSpec()
