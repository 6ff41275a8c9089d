"""What a GPU gives: the same samples and steps as the CPU, and time and memory of the published network on it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from speed.backend_speed import draw_samples, smooth
from speed.picks import picks
from speed.problem import problem_of
from speed.settings import SETTINGS, Setting
from speed.steps import model_of
from speed.timing import seconds
from tim_plugin.archs.tower_arch import TowerGenerator
from tim_plugin.degradations.base import Observed
from tim_plugin.imle.latents import Latents
from tim_plugin.imle.search import Selection, hierarchical
from tim_plugin.imle.search_runner import SearchPlan, SearchRunner
from tim_plugin.imle.types import coarsest
from tim_plugin.inference.devices import choose_device
from tim_plugin.inference.towers import load
from tim_plugin.losses.distance import PerceptualDistance
from tim_plugin.utils.memory import in_memory, peak_bytes

TOWER, TOWER_LQ_PX, SAMPLES = "sr16x-small", 8, 2
PUBLISHED = replace(SETTINGS["published"], candidates=120, at_once=20)  # the paper's
SMALL, SMALL_BATCH, STEPS = SETTINGS["demo"], 2, 3
BACKBONE = "vgg16"
BATCH = 1
LIMIT_S = 420.0  # from here on no part is begun
PRECISIONS = {"fp32": (SearchPlan(), "off"), "bf16": (SearchPlan(precision="bf16"), "bf16")}


def benchmark_gpu(
    device: str = "cuda", published: Setting = PUBLISHED, small: Setting = SMALL, backbone: str = BACKBONE
) -> dict[str, Any]:
    """Check that a GPU gives what the CPU gives, then time search, step and sampling, and take their peak memory.

    Args:
        device: ``cuda``; tests run it on ``cpu``.
        published: The network that is timed.
        small: The network of the steps that are compared.
        backbone: Of the distance, with random weights.

    Returns:
        By part: its figures, or why there are none.

    Raises:
        TimError: There is no such device.
    """
    choose_device(device)
    started, found = time.monotonic(), {}
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        f"samples of {TOWER}, CPU and {device}": partial(same_samples, device),
        f"{STEPS} training steps, CPU and {device}": partial(same_steps, device, small),
        "sampling": partial(sampling, device, published),
        "search": partial(search, device, published, backbone),
        **{
            f"training step, {name}": partial(step, device, published, backbone, amp)
            for name, (_, amp) in PRECISIONS.items()
        },
    }
    for name, part in parts.items():
        if time.monotonic() - started > LIMIT_S:
            found[name] = {"left out": f"{LIMIT_S:.0f} s were over"}
        else:
            found[name] = in_memory(part) or {"left out": "it does not fit in the device's memory"}
    return found


def same_samples(device: str) -> dict[str, Any]:
    """Return the largest difference of a packaged tower's samples on the CPU and on the device."""
    image = smooth(3, TOWER_LQ_PX)
    here, there = (
        draw_samples(Observed(image.to(one)), SAMPLES, load(TOWER, one).network, SAMPLES).cpu()
        for one in ("cpu", device)
    )
    return {"largest difference in steps of 1/255": float((here - there).abs().max() * 255)}


def same_steps(device: str, small: Setting) -> dict[str, Any]:
    """Return how far training steps of a small tower differ: each loss, and the weights after the last."""
    logs, weights = [], []
    for one in ("cpu", device):
        model = model_of(small, SMALL_BATCH, one)
        model._search = partial(_drawn_on_the_cpu, model)  # a search draws on its device, which has other numbers
        logs.append([])
        for iteration in range(1, STEPS + 1):
            model.optimize_parameters(iteration)
            logs[-1].append(model.log_dict["l_total"])
        weights.append(torch.cat([p.detach().flatten().cpu() for p in model.net_g.parameters()]))
    return {
        "losses, relative difference": [abs(a / b - 1) for a, b in zip(*logs, strict=True)],
        "weights, largest difference": float((weights[0] - weights[1]).abs().max()),
    }


def _drawn_on_the_cpu(model: Any, iteration: int, batch: Any, pyramids: Any) -> Latents:
    lq = coarsest(pyramids.conditions)
    generator = torch.Generator().manual_seed(iteration)
    return Latents.draw(model.net_g.latent_shapes(*lq.shape[-2:]), len(lq), generator).to(model.device)


def sampling(device: str, setting: Setting) -> dict[str, Any]:
    """Return seconds and peak memory of one sample and of eight, from the LQ to saved pixels."""
    tower, lq = _tower(device, setting), Observed(smooth(3, setting.lq_px).to(device))
    return {f"{n} sample(s)": _measured(partial(draw_samples, lq, n, tower, n), device) for n in (1, 8)}


def search(device: str, setting: Setting, backbone: str) -> dict[str, Any]:
    """Return seconds and peak memory of a hierarchical search in each precision, and what bf16 picks otherwise."""
    tower = _tower(device, setting)
    distance = PerceptualDistance(backbone=backbone, weights="random", calibration="none").to(device)
    problem, candidates = problem_of(tower, distance, setting, device), [setting.candidates] * tower.spec.num_levels

    def run(runner: SearchRunner) -> Selection:
        generator = torch.Generator(device).manual_seed(0)
        return hierarchical(*problem, candidates, generator, setting.at_once, runner=runner)

    runs = {name: partial(run, SearchRunner(tower, plan)) for name, (plan, _) in PRECISIONS.items()}
    found = {name: _measured(one, device) for name, one in runs.items()}
    return {**found, "bf16 against fp32": picks([(runs["fp32"](), runs["bf16"]())])}


def step(device: str, setting: Setting, backbone: str, amp: str) -> dict[str, Any]:
    """Return seconds and peak memory of a training step in one precision."""
    distance = {"type": "PerceptualDistanceLoss", "backbone": backbone, "weights": "random", "calibration": "none"}
    model = model_of(setting, BATCH, device, perceptual_opt=distance, amp=amp)
    model.optimize_parameters(1)  # searches, with one candidate
    return _measured(partial(model.optimize_parameters, 2), device)


def _tower(device: str, setting: Setting) -> TowerGenerator:
    torch.manual_seed(0)
    return TowerGenerator(**setting.network).to(device).eval().requires_grad_(False)


def _measured(function: Callable[[], Any], device: str) -> dict[str, float]:
    peak = peak_bytes(function, device)  # the first call, which also chooses kernels
    return {"seconds": seconds(function, device), "peak memory, MiB": peak / 2**20}
