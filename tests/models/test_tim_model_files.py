"""TIMModel inside BasicSR's conventions: checkpoints, validation, test."""

from __future__ import annotations

import copy

import pytest
import torch
from basicsr.utils import get_root_logger

from support.tiny_runs import build, same, train, weights
from tim_plugin.data.degraded_image_dataset import DegradedImageDataset
from tim_plugin.utils import checkpoints, processes
from tim_plugin.utils.errors import TimError


def test_checkpoints_hold_both_weights_and_rebuild_the_network(options, tmp_path, tiny_network):
    model = build(options())
    train(model, 1, 2)
    model.save(0, 2)
    path = tmp_path / "models" / "net_g_2.pth"
    content = torch.load(path, weights_only=True)
    assert set(content) == {"params", "params_ema", "network_g"}
    network, arguments = checkpoints.load_network(path)
    assert arguments == tiny_network
    assert same(weights(network), weights(model.net_g_ema))
    assert not network.training
    assert sorted(p.name for p in path.parent.iterdir()) == ["net_g_2.pth"]


def test_every_layout_of_weights_loads(options, tmp_path):
    model = build(options())
    state = {name: value + 1 for name, value in weights(model.net_g).items()}
    for name, content in (
        ("flat", state),
        ("params", {"params": state}),
        ("ema", {"params_ema": state}),
        ("module", {"params": {f"module.{key}": value for key, value in state.items()}}),
    ):
        torch.save(content, tmp_path / f"{name}.pth")
        fresh = build(options())
        fresh.load_network(fresh.net_g, str(tmp_path / f"{name}.pth"), True, "params")
        assert same(weights(fresh.net_g), state), name


def test_a_mismatch_names_the_first_keys_and_leaves_the_weights(options, tmp_path):
    model = build(options())
    state = weights(model.net_g)
    before = copy.deepcopy(state)
    del state["levels.0.conv_first.bias"]
    state["levels.9.extra"] = torch.zeros(1)
    state["levels.0.conv_body.bias"] = torch.zeros(9)
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(TimError) as caught:
        model.load_network(model.net_g, str(tmp_path / "other.pth"))
    for part in (
        "other.pth",
        "levels.0.conv_body.bias is (9,) instead of (4,)",
        "levels.0.conv_first.bias is missing",
        "levels.9.extra is unknown",
        "strict_load_g",
    ):
        assert part in str(caught.value)
    assert same(before, weights(model.net_g))
    model.load_network(model.net_g, str(tmp_path / "other.pth"), strict=False)


@pytest.mark.parametrize(
    ("option", "other", "was"),
    [("feature_scale", 0.5, "0.1"), ("image_below", "signed", "'unit'"), ("normalise", False, "True")],
)
def test_weights_that_would_mean_something_else_are_refused(options, tmp_path, option, other, was):
    first = build(options())
    torch.nn.init.ones_(first.net_g.levels[0].conv_first.bias)
    first.save(0, 2)
    opt, path = options(), str(tmp_path / "models" / "net_g_2.pth")
    opt["network_g"][option] = other
    model = build(opt)
    before = copy.deepcopy(weights(model.net_g))
    message = f"network_g: {option} is {other!r}, and .*net_g_2.pth was trained with {was}: use the network_g that it"
    with pytest.raises(TimError, match=message):
        model.load_network(model.net_g, path)
    assert same(before, weights(model.net_g))
    model.load_network(model.net_g, path, strict=False)
    assert same(weights(first.net_g), weights(model.net_g))


def test_another_consistency_is_loaded_and_logged(options, tmp_path, caplog):
    first = build(options())
    first.save(0, 2)
    opt = options()
    opt["network_g"]["consistency"] = "project"
    model = build(opt)
    logger = get_root_logger()
    logger.addHandler(caplog.handler)
    try:
        model.load_network(model.net_g, str(tmp_path / "models" / "net_g_2.pth"))
    finally:
        logger.removeHandler(caplog.handler)
    assert same(weights(first.net_g), weights(model.net_g))
    lines = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
    assert len(lines) == 1 and lines[0].startswith("network_g: consistency is 'project', and ")
    assert lines[0].endswith("net_g_2.pth was trained with 'off'")


def test_an_interrupted_save_leaves_the_old_file(options, tmp_path, monkeypatch):
    model = build(options())
    model.save(0, 1)
    path = tmp_path / "models" / "net_g_1.pth"
    before = path.read_bytes()

    def fail(content, target):
        target.write(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="No space left"):
        model.save(0, 1)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["net_g_1.pth"]


def loader(photos):
    dataset = DegradedImageDataset({"name": "held_out", "task": "sr16x", "phase": "val", "dataroot_gt": str(photos)})
    return torch.utils.data.DataLoader(torch.utils.data.Subset(dataset, [0, 1])), dataset


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without CUDA")
def test_a_gpu_that_is_not_there_is_one_sentence_whoever_read_the_options(options):
    with pytest.raises(TimError, match="^num_gpu: 1, but this machine has 0 CUDA devices: use num_gpu: auto"):
        build({**options(), "num_gpu": 1})


def test_validation_saves_samples_and_logs_mean_and_best(options, photos, tmp_path):
    opt = options()
    opt["val"]["metrics"] = {
        "psnr": {"type": "calculate_psnr", "crop_border": 0},
        "lpips": {"type": "calculate_lpips", "backbone": "squeezenet1_1", "weights": "random"},
    }
    model = build(opt)
    data, dataset = loader(photos)
    data.dataset.opt = dataset.opt
    model.validation(data, 7, None, save_img=True)
    results = model.metric_results
    assert results["psnr_best"] >= results["psnr"]
    assert results["squeezenet1_1_random_distance_best"] <= results["squeezenet1_1_random_distance"]
    assert results["distance_best"] <= results["distance"]
    assert results["diversity"] > 0
    assert model.best_metric_results["held_out"]["squeezenet1_1_random_distance"]["better"] == "lower"
    assert model.best_metric_results["held_out"]["psnr"]["iter"] == 7
    files = sorted(path.name for path in (tmp_path / "visualization" / "photo00").iterdir())
    assert files == [f"photo00_7_s0{j}.png" for j in range(3)] + ["photo00_7_sheet.png"]
    first = dict(results)
    model.validation(data, 8, None, save_img=False)
    assert model.metric_results == first  # fixed seeds


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (
            {"type": "calculate_pnsr"},
            "val: metrics: x: type 'calculate_pnsr' is not known: did you mean 'calculate_psnr'",
        ),
        ({"type": "calculate_psnr", "crop_boarder": 0}, "x: crop_border is missing; is 'crop_boarder' a misspelling"),
        (
            {"type": "calculate_lpips", "bacbone": "alexnet"},
            "val: metrics: x: unknown key 'bacbone': did you mean 'backbone'",
        ),
        ({"type": "calculate_ssim"}, "val: metrics: x: crop_border is missing"),
    ],
)
def test_a_wrong_metric_is_named_before_training(options, metric, message):
    opt = options()
    opt["val"]["metrics"] = {"x": metric}
    with pytest.raises(TimError, match=message):
        build(opt)


def test_test_gives_basicsrs_output(options):
    model = build(options())
    model.feed_data({"lq": torch.rand(1, 3, 2, 3)})
    model.test()
    assert model.samples.shape == (3, 3, 32, 48)
    assert model.get_current_visuals()["result"].shape == (1, 3, 32, 48)


@pytest.mark.parametrize("model_type", ["TIMModel", "EnergyScoreModel", "BaselineModel"])
def test_several_gpus_take_a_process_each(model_type, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    opt = {"dist": False, "num_gpu": 2, "model_type": model_type, "datasets": {}}
    with pytest.raises(TimError, match="^num_gpu: 2 needs a process for each GPU"):
        processes._choose_devices(opt)
