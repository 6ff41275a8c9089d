"""TIMModel inside BasicSR's conventions: steps, pool, EMA, NaN, checkpoints, validation."""

from __future__ import annotations

import copy
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from basicsr.models import build_model
from basicsr.utils.registry import MODEL_REGISTRY

from tim_plugin.data.degraded_image_dataset import DegradedImageDataset
from tim_plugin.imle.search import hierarchical
from tim_plugin.utils import checkpoints
from tim_plugin.utils.errors import NonFiniteError, TimError
from tim_plugin.utils.seeds import keyed_generator


@pytest.fixture
def options(tmp_path, photos, tiny_network):
    """Return a function that gives complete options, as BasicSR's parser would."""

    def build(**imle):
        paths = {name: str(tmp_path / name) for name in ("models", "training_states", "visualization")}
        for path in paths.values():
            Path(path).mkdir(exist_ok=True)
        return OrderedDict(
            name="tiny",
            model_type="TIMModel",
            scale=16,
            num_gpu=0,
            manual_seed=0,
            is_train=True,
            dist=False,
            rank=0,
            world_size=1,
            path=paths,
            datasets={
                "train": {
                    "name": "t",
                    "type": "DegradedImageDataset",
                    "task": "sr16x",
                    "dataroot_gt": str(photos),
                    "gt_size": 32,
                    "batch_size_per_gpu": 2,
                    "num_worker_per_gpu": 0,
                }
            },
            network_g=dict(tiny_network),
            imle={"samples_per_level": 3, "pool_size": 4, "reuse": 2, "search_batch": 2, **imle},
            train={
                "ema_decay": 0.9,
                "total_iter": 100,
                "optim_g": {"type": "Adam", "lr": 1e-2, "betas": [0.9, 0.99]},
                "scheduler": {"type": "MultiStepLR", "milestones": [4], "gamma": 0.5},
                "perceptual_opt": {"type": "PixelDistanceLoss"},
            },
            val={"val_freq": 10, "save_img": True, "num_samples": 3},
            logger={"print_freq": 1, "save_checkpoint_freq": 1, "use_tb_logger": False},
        )

    return build


def build(options):
    torch.manual_seed(0)
    return build_model(options)


def batch(index, size=2):
    generator = torch.Generator().manual_seed(index)
    return {
        "lq": torch.rand(size, 3, 2, 2, generator=generator),
        "gt": torch.rand(size, 3, 32, 32, generator=generator),
    }


def train(model, first, last):
    for iteration in range(first, last + 1):
        model.update_learning_rate(iteration)
        model.feed_data(batch(iteration))
        model.optimize_parameters(iteration)


def weights(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


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
        sum(reference._losses(shuffled, latents.index(order)).values()).backward()
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
