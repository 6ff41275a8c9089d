"""BaselineModel: what it adds to BasicSR's SRModel, and its mistakes."""

from __future__ import annotations

import copy

import pytest
import torch
from basicsr.models import build_model

from tim_plugin.inference.files import sample_files
from tim_plugin.utils.errors import NonFiniteError, TimError


def options(tmp_path, **changes):
    opt = {
        "name": "x",
        "model_type": "BaselineModel",
        "scale": 1,
        "num_gpu": 0,
        "dist": False,
        "rank": 0,
        "manual_seed": 0,
        "is_train": True,
        "datasets": {"train": {"name": "t", "type": "Other", "batch_size_per_gpu": 2, "num_worker_per_gpu": 0}},
        "network_g": {"type": "DnCNN", "num_feat": 4, "num_layers": 4},
        "path": {"models": str(tmp_path), "training_states": str(tmp_path)},
        "train": {
            "ema_decay": 0.5,
            "optim_g": {"type": "Adam", "lr": 1e-2},
            "scheduler": {"type": "MultiStepLR", "milestones": [10], "gamma": 1},
            "total_iter": 10,
            "pixel_opt": {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"},
        },
        "logger": {"print_freq": 1, "save_checkpoint_freq": 1, "use_tb_logger": False},
    }
    for key, value in changes.items():
        section, _, last = key.rpartition("__")
        (opt[section] if section else opt)[last] = value
    return copy.deepcopy(opt)


def batch():
    torch.manual_seed(0)
    return {"lq": torch.rand(2, 3, 16, 16), "gt": torch.rand(2, 3, 16, 16)}


def test_ema_has_the_statistics_of_batch_norm(tmp_path):
    model = build_model(options(tmp_path))
    model.feed_data(batch())
    for step in (1, 2):
        model.optimize_parameters(step)
    own, current = model.net_g_ema.norms[0], model.net_g.norms[0]
    assert torch.equal(own.running_mean, current.running_mean) and own.running_mean.abs().sum() > 0
    assert not torch.equal(own.weight, current.weight)
    assert set(model.log_dict) == {"l_total", "l_pix"}


def test_a_resumed_run_goes_on_from_its_own_ema(tmp_path):
    model = build_model(options(tmp_path))
    model.feed_data(batch())
    for step in (1, 2):
        model.optimize_parameters(step)
    model.save(0, 2)
    saved = tmp_path / "net_g_2.pth"
    assert not torch.equal(model.net_g_ema.first.weight, model.net_g.first.weight)
    resumed = build_model(options(tmp_path, path__pretrain_network_g=str(saved), path__param_key_g="params"))
    for name, value in model.net_g_ema.state_dict().items():
        assert torch.equal(resumed.net_g_ema.state_dict()[name], value), name
    assert torch.equal(resumed.net_g.first.weight, model.net_g.first.weight)


@pytest.mark.parametrize("optimizer", ["AdamW", "SGD", "Adadelta"])
def test_optimizers_that_basicsr_has_not_got(tmp_path, optimizer):
    model = build_model(options(tmp_path, train__optim_g={"type": optimizer, "lr": 1e-2}))
    before = model.net_g.first.weight.clone()
    model.feed_data(batch())
    model.optimize_parameters(1)
    assert type(model.optimizer_g).__name__ == optimizer and not torch.equal(before, model.net_g.first.weight)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train__optim_g": {"type": "Adamm", "lr": 1e-2}}, "optim_g: type 'Adamm' is not known: did you mean 'Adam'"),
        ({"train__pixel_opt": None}, "pixel_opt or perceptual_opt is missing: the network has no losses of its own"),
        (
            {"network_g": {"type": "RectifiedFlow", "widths": [4, 8]}},
            "train: pixel_opt: RectifiedFlow has losses of its own: leave it out",
        ),
        ({"train__pixel_op": {}}, "train: unknown key 'pixel_op'"),
        ({"network_g": {}}, "network_g: type is missing"),
        ({"network_g": {"type": "RectifiedFlow", "scale": 4}}, "scale 1 is not what the network makes: .* scale 4"),
        ({"network_g": {"type": "RectifiedFlow", "steps": 1.5}}, "network_g: steps must be a whole number|integer"),
    ],
)
def test_mistakes_are_named(tmp_path, changes, message):
    with pytest.raises(TimError, match=message):
        build_model(options(tmp_path, **changes))


def test_a_network_with_its_own_losses_is_not_distributed(tmp_path):
    network = {"type": "Iizuka2016", "width": 4, "global_px": 32}
    model = build_model(options(tmp_path, network_g=network, train__pixel_opt=None))
    model.opt["dist"] = True
    with pytest.raises(TimError, match="Iizuka2016 is trained in one process"):
        model.init_training_settings()


@pytest.mark.parametrize(
    ("network", "loss"),
    [
        ({"type": "RectifiedFlow", "widths": [4, 8]}, "l_flow"),
        (
            {"type": "Larsson2016", "stage_channels": [2, 2, 4, 4, 4], "fc_channels": 4, "fc_kernel": 3, "hidden": 8},
            "l_hue",
        ),
    ],
)
def test_what_a_network_draws_for_its_losses_depends_on_seed_and_iteration_alone(tmp_path, network, loss):
    given = batch()
    if loss == "l_hue":  # it reads lightness, and multiples of 32 pixels
        given = {"lq": torch.rand(2, 1, 32, 32), "gt": torch.rand(2, 3, 32, 32)}

    def logged(iterations, **changes):
        optimizer = {"type": "SGD", "lr": 0.0}
        torch.manual_seed(0)
        changes = {"network_g": network, "train__pixel_opt": None, "train__optim_g": optimizer, **changes}
        model = build_model(options(tmp_path, **changes))
        model.feed_data(given)
        for step in iterations:
            torch.rand(step)  # what else draws from the global generator
            model.optimize_parameters(step)
        return model.log_dict[loss]

    assert logged([5, 6]) == logged([6]) != logged([7])
    assert logged([6], manual_seed=1) != logged([6])


def test_a_loss_that_is_no_number_stops_before_the_weights(tmp_path):
    model = build_model(options(tmp_path))
    before = model.net_g.first.weight.clone()
    data = batch()
    data["gt"][0, 0, 0, 0] = torch.nan
    model.feed_data(data)
    with pytest.raises(NonFiniteError, match="iteration 7: the loss is nan"):
        model.optimize_parameters(7)
    assert torch.equal(before, model.net_g.first.weight)


def test_sampling_a_network_that_is_no_tower_says_what_to_use(tmp_path, photos):
    model = build_model(options(tmp_path))
    model.save_network([model.net_g, model.net_g_ema], "net_g", -1, param_key=["params", "params_ema"])
    with pytest.raises(TimError, match="is a DnCNN, .* use tools/test.py or tools/evaluate.py"):
        sample_files(photos, tmp_path / "out", tmp_path / "net_g_latest.pth")
