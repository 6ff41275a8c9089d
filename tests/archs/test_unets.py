"""The compared U-Nets: samplers on known flows, losses by hand, samples by seed, options that do not fit."""

from __future__ import annotations

import pytest
import torch
import yaml
from basicsr.archs import build_network

from tim_plugin.archs.conditional_arch import AB_UNIT
from tim_plugin.archs.edm_arch import heun, noise_levels, preconditioning
from tim_plugin.archs.flow_arch import euler
from tim_plugin.archs.rcgan_arch import mean_and_deviation
from tim_plugin.archs.unet import UNet
from tim_plugin.degradations.base import Observed
from tim_plugin.inference.image_samples import sample_image
from tim_plugin.models.pipeline import test_pipeline as run_test_pipeline
from tim_plugin.options.checks import check_options
from tim_plugin.utils.color import rgb_to_lab
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.images import read_image

COLOUR = {"num_in_ch": 1, "head": "ab", "degradation": "lightness"}
NAMES = ("RegressionUNet", "RectifiedFlow", "ConditionalEDM", "RcGAN")
DRAWING = set(NAMES) - {"RegressionUNet"}


def made(name, **options):
    """A tiny network whose last layers give something."""
    torch.manual_seed(0)
    network = build_network({"type": name, "widths": [4, 8], **options}).eval()
    for module in network.modules():
        if isinstance(module, UNet):
            torch.nn.init.normal_(module.last.weight, std=0.1)
    return network


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def losses(network, lq, gt):
    return network.losses(lq, gt, None, **({"generator": generator()} if type(network).__name__ in DRAWING else {}))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("options", [{"scale": 4}, COLOUR], ids=["rgb", "ab"])
def test_samples_are_of_their_seeds_alone_and_losses_of_theirs(name, options):
    network, lq = made(name, **options), torch.rand(1, options.get("num_in_ch", 3), 5, 7, generator=generator(1))
    scale = options.get("scale", 1)
    four = network.sample(lq, [generator(seed) for seed in range(4)])
    assert four.shape == (4, 3, 5 * scale, 7 * scale)
    saved = sample_image(network, lq, 3, seed=0, image_key="a")
    assert torch.equal(saved[:1], sample_image(network, lq, 1, seed=0, image_key="a"))
    assert torch.equal(saved[0], saved[1]) == (name not in DRAWING)
    gt = torch.rand(2, 3, 5 * scale, 7 * scale, generator=generator(2))
    first, again = (losses(network, lq.expand(2, -1, -1, -1), gt) for _ in range(2))
    assert first == again and all(value.isfinite() for value in first.values())
    assert network(lq.expand(2, -1, -1, -1)).shape == gt.shape


def test_colours_are_joined_to_the_lightness_and_back():
    network, lq = made("RegressionUNet", **COLOUR), 0.3 + 0.4 * torch.rand(1, 1, 6, 6, generator=generator())
    values = torch.rand(1, 2, 6, 6, generator=generator()) - 0.5
    images = network.images(values, lq)
    assert torch.allclose(rgb_to_lab(images)[:, :1] / 100, lq, atol=2e-3)
    assert torch.allclose(network.values(images), values, atol=1e-2) and AB_UNIT == 32


def test_the_regression_learns_the_mean_of_what_it_is_shown():
    network, lq = made("RegressionUNet", scale=2), torch.full((2, 3, 4, 4), 0.4)
    gt = torch.stack([torch.full((3, 8, 8), 0.2), torch.full((3, 8, 8), 0.8)])
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        losses(network, lq, gt)["l_mean"].backward()
        optimizer.step()
    assert network(lq).mean().item() == pytest.approx(0.5, abs=0.03)


def test_one_step_along_a_straight_line_is_exact_and_so_are_many():
    start, end = torch.randn(2, 8, generator=generator()).unflatten(1, (2, 2, 2)), torch.ones(2, 2, 2, 2)
    for steps in (1, 5):
        assert torch.allclose(euler(lambda values, time: end - start, start, steps), end, atol=1e-6)


def test_the_exact_velocity_of_gaussians_gives_the_right_distribution():
    """From N(0, 0.1^2) to N(2, 0.5^2), independent: E[end - start | values at a time] in closed form."""
    before, after, shift = 0.1, 0.5, 2.0

    def velocity(values, time):
        t = time[:, None]
        variance = (1 - t) ** 2 * before**2 + t**2 * after**2
        slope = (t * after**2 - (1 - t) * before**2) / variance
        return shift + slope * (values - t * shift)

    start = before * torch.randn(20_000, 1, generator=generator())
    end = euler(velocity, start, 200)
    assert end.mean() == pytest.approx(shift, abs=0.02) and end.std() == pytest.approx(after, rel=0.03)
    assert euler(velocity, start, 1).std() < 1e-4  # one step knows the mean only


@torch.no_grad()
def test_the_flow_begins_at_the_mean_and_is_trained_on_the_line_to_the_gt(monkeypatch):
    network, lq = made("RectifiedFlow", scale=4, steps=3, noise=0.2), torch.rand(2, 3, 2, 2, generator=generator())
    gt, seen = torch.rand(2, 3, 8, 8, generator=generator(1)), []

    def velocity(values, time, condition):
        seen.append((values, time))
        return torch.zeros_like(values)

    monkeypatch.setattr(network, "velocity", velocity)
    condition, noise = network.condition(lq), torch.randn(2, 3, 8, 8, generator=generator(2))
    start = network.mean(condition) + 0.2 * noise
    assert torch.equal(network.from_noise(condition, noise), start)
    assert [float(time[0]) for _, time in seen] == pytest.approx([0, 1 / 3, 2 / 3]) and network.evaluations == 4
    found = network.losses(lq, gt, None, generator=generator(3))
    drawing = generator(3)
    start = network.mean(condition) + 0.2 * torch.randn(2, 3, 8, 8, generator=drawing)
    time = torch.rand(2, generator=drawing)
    (values, at), end = seen[-1], 2 * gt - 1
    assert torch.equal(at, time)
    assert torch.allclose(values, start + time[:, None, None, None] * (end - start), atol=1e-6)
    assert float(found["l_flow"]) == pytest.approx(float((end - start).square().mean()), rel=1e-5)
    assert float(found["l_mean"]) == pytest.approx(float((network.mean(condition) - end).square().mean()), rel=1e-5)


def test_the_preconditioning_keeps_unit_variance_and_its_limits():
    """Table 1: input and training target of the network have variance 1 at every noise level."""
    sigma, data = torch.tensor([0.002, 0.5, 3.0, 80.0], dtype=torch.float64), 0.5
    scales = preconditioning(sigma, data)
    assert torch.allclose(scales.input.square() * (data**2 + sigma**2), torch.ones(4).double())
    target = ((1 - scales.skip) * data).square() + (scales.skip * sigma).square()  # variance of clean - skip * noisy
    assert torch.allclose(target / scales.out.square(), torch.ones(4).double())
    assert scales.skip[0] > 0.9999 and scales.skip[-1] < 1e-4 and torch.allclose(scales.time, sigma.log() / 4)
    levels = noise_levels(5)
    assert (
        levels[0] == pytest.approx(80) and levels[-2:] == pytest.approx([0.002, 0]) and levels == sorted(levels)[::-1]
    )


def test_heun_is_exact_where_the_path_is_straight_and_near_a_gaussian_in_18_steps():
    noise = torch.randn(20_000, 1, generator=generator())
    place, calls = torch.full_like(noise, 0.3), []
    found = heun(lambda values, level: calls.append(level) or place, noise, noise_levels(5))
    assert torch.allclose(found, place, atol=1e-5) and len(calls) == 2 * 5 - 1
    mean, deviation = 0.3, 0.5  # of N(0.3, 0.5^2): D in closed form, and the ODE's own solution
    exact = mean + (noise * 80.0 - mean) * deviation / (deviation**2 + 80.0**2) ** 0.5

    def denoise(values, level):
        return (deviation**2 * values + level**2 * mean) / (deviation**2 + level**2)

    errors = [float((heun(denoise, noise, noise_levels(steps)) - exact).abs().max()) for steps in (5, 18, 36)]
    assert errors[0] > errors[1] > 3 * errors[2] and errors[2] < 0.03  # second order: a quarter by twice the steps


def test_diffusion_is_trained_on_what_the_scales_say(monkeypatch):
    network, gt = made("ConditionalEDM"), torch.rand(2, 3, 8, 8, generator=generator())
    monkeypatch.setattr(network.unet, "forward", lambda maps, time: torch.zeros(2, 3, 8, 8))
    found = network.losses(gt, gt, None, generator=generator(1))["l_denoise"]
    drawing, clean = generator(1), 2 * gt - 1
    sigma = (-1.2 + 1.2 * torch.randn(2, generator=drawing)).exp()[:, None, None, None]
    noisy = clean + sigma * torch.randn(clean.shape, generator=drawing)
    skip, weight = 0.25 / (sigma**2 + 0.25), (sigma**2 + 0.25) / (0.5 * sigma) ** 2
    assert float(found) == pytest.approx(float((weight * (skip * noisy - clean).square()).mean()), rel=1e-4)


def test_rcgan_s_regularisation_is_lowest_at_the_true_mean_and_deviation():
    """Proposition 3.1 for N(1, 0.5^2) and two samples."""
    truth, normal = (torch.randn(size, generator=generator(k)) for k, size in enumerate([(200_000,), (2, 200_000)]))
    truth = 1 + 0.5 * truth

    def total(place, deviation):
        error, reward = mean_and_deviation(place + deviation * normal, truth)
        return float(error - reward)

    best = total(1.0, 0.5)
    assert all(best < total(1.0, other) for other in (0.0, 0.35, 0.65, 1.0))
    assert all(best < total(other, 0.5) for other in (0.9, 1.1))


def test_the_generators_losses_move_the_critic_not_and_the_critics_not_the_generator():
    network, lq, gt = made("RcGAN"), torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8)
    for names, moved, still in (
        (("l_adversarial", "l_mean", "l_deviation"), network.unet, network.critic),
        (("l_critic", "l_penalty"), network.critic, network.unet),
    ):
        network.zero_grad()
        found = losses(network, lq, gt)
        sum(found[name] for name in names).backward()
        assert all(one.grad is None for one in still.parameters())
        assert any(one.grad is not None and one.grad.abs().sum() > 0 for one in moved.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_samples_are_projected_if_asked_for(name):
    lq = torch.rand(1, 3, 4, 4, generator=generator()).mul(255).round().div(255) * 0.5 + 0.25
    psnr = {}
    for consistency in ("off", "project"):
        network = made(name, scale=4, consistency=consistency)
        samples = sample_image(network, lq, 2, seed=0, image_key="a")
        psnr[consistency] = network.degradation.measure(samples, Observed(lq.expand(2, -1, -1, -1)))["lr_psnr"].min()
    assert psnr["project"] >= 45 > psnr["off"]


@pytest.mark.parametrize(
    ("task", "data", "message"),
    [
        ("colorization", {}, "network_g: num_in_ch 3 does not fit datasets: test_1, whose images have 1 channels"),
        (
            "mnist_pca",
            {"basis": "sklearn:digits/train"},
            "a RectifiedFlow writes 3 channels, and the images of datasets: test_1 have 1",
        ),
    ],
)
def test_data_of_other_channels_are_named(photos, task, data, message):
    data = {"name": "a", "type": "DegradedImageDataset", "task": task, "dataroot_gt": str(photos), **data}
    opt = {"name": "a", "model_type": "BaselineModel", "num_gpu": 0, "datasets": {"test_1": data}}
    with pytest.raises(TimError, match=message):
        check_options({**opt, "network_g": {"type": "RectifiedFlow"}, "path": {}, "val": {"save_img": False}})


def test_a_test_may_have_other_steps_and_the_projection(tmp_path, photos):
    network = made("RectifiedFlow", scale=4)
    arguments = {"type": "RectifiedFlow", "widths": [4, 8], "scale": 4}
    torch.save({"params_ema": network.state_dict(), "network_g": arguments}, tmp_path / "net.pth")
    data = {"name": "held_out", "type": "DegradedImageDataset", "task": "sr4x", "dataroot_gt": str(photos)}
    opt = {
        "name": "flow",
        "model_type": "BaselineModel",
        "scale": 4,
        "num_gpu": 0,
        "manual_seed": 0,
        "datasets": {"test_1": {**data, "max_images": 1}},
        "network_g": {**arguments, "steps": 2, "consistency": "project"},
        "path": {"pretrain_network_g": str(tmp_path / "net.pth"), "results_root": str(tmp_path)},
        "val": {"save_img": True, "num_samples": 2},
    }
    (tmp_path / "x.yml").write_text(yaml.safe_dump(opt))
    run_test_pipeline(str(tmp_path), ["-opt", str(tmp_path / "x.yml")])
    files = sorted(tmp_path.rglob("*_s0?.png"))
    assert len(files) == 2
    gt = read_image(sorted(photos.iterdir())[0]).rgb[None]
    lq = network.degradation.degrade(gt[0]).lq[None]
    for file in files:
        assert network.degradation.measure(read_image(file).rgb[None], Observed(lq))["lr_psnr"] >= 45


@pytest.mark.parametrize("name", NAMES)
def test_own_losses_reach_every_parameter(name):
    network = made(name, scale=2).train()
    sum(losses(network, torch.rand(2, 3, 4, 4), torch.rand(2, 3, 8, 8)).values()).backward()
    assert [key for key, one in network.named_parameters() if one.grad is None] == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"widhts": [4]}, "network_g: unknown key 'widhts': did you mean 'widths'"),
        ({"widths": []}, "widths must hold a number"),
        ({"widths": ["a"]}, "widths is the text 'a'|widths must be a number"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"head": "ab"}, "head 'ab' joins colour to the given lightness: it needs scale: 1, num_in_ch: 1"),
        ({"consistency": "project"}, "there is nothing to project for degradation 'unknown'"),
        ({"scale": 4, "degradation": "lightness"}, "degradation 'lightness' keeps the size: use scale: 1"),
        ({"scale": 4, "num_in_ch": 1, "consistency": "project"}, "needs num_in_ch: 3"),
    ],
)
def test_options_that_do_not_fit_are_named(options, message):
    with pytest.raises(TimError, match=message):
        build_network({"type": "RectifiedFlow", **options})
