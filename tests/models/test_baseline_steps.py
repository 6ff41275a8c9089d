"""Steps of the compared systems: in parts and in half precision, and what cannot be split is refused."""

from __future__ import annotations

import pytest
import torch
from basicsr.models import build_model

from tim_plugin.utils.errors import TimError

BATCH = 4  # as in conftest.py


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


def test_a_compared_system_takes_the_same_ways(step_options, farthest):
    network = {"type": "DnCNN", "num_feat": 4, "num_layers": 4, "batch_norm": False}
    plain = baseline_step(baseline(step_options, network))
    parts = baseline_step(baseline(step_options, network, accumulate=4, clip_grad_norm=1e9))
    half = baseline_step(baseline(step_options, network, amp="bf16"))
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
def test_what_a_compared_system_cannot_do_is_an_error(step_options, network, train, message):
    with pytest.raises(TimError, match=message):
        baseline(step_options, network, **train)
