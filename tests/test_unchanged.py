"""Samples, searches, trained weights and figures are what they were when they were recorded in ``unchanged/``.

To the bit on a processor whose convolutions give the recorded probe to the bit, elsewhere nearly so.
Record anew, where a change is meant: ``RECORD_UNCHANGED=1 pytest tests/test_unchanged.py -n 0``, and say why.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from support.command_lines import run_program
from support.processor import IS_INTEL
from tim_plugin.degradations.base import Observed
from tim_plugin.degradations.jpeg import Jpeg
from tim_plugin.degradations.lightness import Lightness
from tim_plugin.imle.pyramid import condition_pyramid, target_pyramid
from tim_plugin.imle.search import hierarchical, vanilla
from tim_plugin.losses.distance import PerceptualDistance
from tim_plugin.models.pipeline import train_pipeline
from tim_plugin.options.option_file import read_option_file
from tim_plugin.utils.images import read_image

ROOT = Path(__file__).resolve().parents[1]
RECORDED = ROOT / "tests" / "unchanged"
SIZES = {"num_levels": 4, "trunk_channels": 4, "growth_channels": 4, "num_blocks": 1, "noise_channels": 2}
SIZES |= {"style_dim": 4, "mapping_width": 8, "mapping_layers": 2, "feature_scale": 0.1}  # as recorded
BUNDLED = {"backbone": "tim_small", "weights": "bundled", "calibration": "bundled"}


def probe() -> Tensor:
    """What convolutions and their gradients give here: processors round by the order in which they add."""
    generator = torch.Generator().manual_seed(0)
    image, weight = torch.randn(2, 9, 12, 12, generator=generator), torch.randn(8, 9, 3, 3, generator=generator)
    weight.requires_grad_()
    out = F.instance_norm(F.conv2d(image, weight, padding=1))
    out.square().mean().backward()
    marker = torch.ones(int(IS_INTEL))  # its matrix products round otherwise, while its convolutions do not
    return torch.cat([out.detach().flatten(), weight.grad.flatten(), marker])


def compare(name: str, found: dict[str, Tensor], drifting: Mapping[str, float] | None = None) -> None:
    """Compare with what is recorded, or record it.

    ``drifting`` says how far some of it may be away on processors that add up otherwise; the rest .0001.
    """
    found = {key: value.detach().contiguous().clone() for key, value in found.items()} | {"probe": probe()}
    path = RECORDED / f"{name}.safetensors"
    if os.environ.get("RECORD_UNCHANGED"):
        RECORDED.mkdir(exist_ok=True)
        save_file(found, path)
        return
    recorded = load_file(path)
    assert recorded.keys() == found.keys()
    to_the_bit = torch.equal(recorded.pop("probe"), found.pop("probe"))
    for key, value in recorded.items():
        if to_the_bit and key == "figures":  # in double precision, by libraries that choose their own vectors
            torch.testing.assert_close(found[key], value, rtol=1e-12, atol=0)
        elif to_the_bit:
            assert torch.equal(found[key], value), key
        elif value.is_floating_point():
            torch.testing.assert_close(found[key], value, rtol=1e-3, atol=(drifting or {}).get(key, 1e-4))
        else:  # 8-bit pixels
            assert (found[key].int() - value.int()).abs().max() <= 1, key


def folder_of_inputs(photos: Path, folder: Path) -> Path:
    """An input for each kind of tower, made of one photograph."""
    folder.mkdir()
    gt = read_image(sorted(photos.iterdir())[0]).rgb[:, :64, :64]
    small = (F.interpolate(gt[None], (8, 8), mode="area")[0] * 255).round().byte()
    cv2.imwrite(str(folder / "small.png"), small.permute(1, 2, 0).numpy()[..., ::-1])
    (folder / "photo.jpg").write_bytes(Jpeg(quality=5).encode(gt))
    (folder / "grey.png").write_bytes(Lightness().encode(gt))
    cells = torch.randint(11, (8, 10), generator=torch.Generator().manual_seed(0)).numpy().astype(np.uint8)
    cv2.imwrite(str(folder / "labels.png"), cells.repeat(8, axis=0).repeat(8, axis=1))
    cv2.imwrite(str(folder / "digit.png"), cv2.resize((255 * gt[0]).byte().numpy(), (32, 32)))
    return folder


@pytest.mark.parametrize(
    ("model", "file"),
    [
        ("sr16x-small", "small.png"),
        ("sr4x-small", "small.png"),
        ("decompress-small", "photo.jpg"),
        ("colorize-small", "grey.png"),
        ("layout-camvid-small", "labels.png"),
        ("mnist-pca", "digit.png"),
    ],
)
def test_samples_of_the_package_s_towers(model, file, photos, tmp_path):
    inputs = folder_of_inputs(photos, tmp_path / "in")
    arguments = ("-i", inputs / file, "-o", tmp_path / "out", "--model", model, "-n", 3, "--device", "cpu")
    arguments += ("--backend", "torch")
    done = run_program(ROOT / "tools" / "sample.py", *arguments)
    assert done.returncode == 0, done.stderr
    written = sorted((tmp_path / "out").glob("*.png"))
    assert len(written) == 4
    found = {path.name: torch.from_numpy(cv2.imread(str(path))[::3, ::3].copy()) for path in written}
    entries = json.loads((tmp_path / "out" / "samples.json").read_text())["images"][0]["samples"]
    measures = [[value for value in entry.values() if isinstance(value, float)] for entry in entries]
    compare(f"samples_{model}", {**found, "consistency": torch.tensor(measures)})


@pytest.mark.parametrize("way", ["hierarchical", "per_level", "vanilla", "rejecting", "chunked"])
def test_searches(way, tiny_tower):
    tower = tiny_tower(consistency="project")
    generator = torch.Generator().manual_seed(3)
    lq, gt = torch.rand(2, 3, 3, 2, generator=generator), torch.rand(2, 3, 48, 32, generator=generator)
    pyramids = condition_pyramid(Observed(lq), tower.spec, tower.degradation), target_pyramid(gt, 4)
    distance = PerceptualDistance(**BUNDLED)
    source = torch.Generator().manual_seed(7)
    if way == "vanilla":
        found = vanilla(tower, distance, *pyramids, [6] * 4, source)
    elif way == "rejecting":
        found = hierarchical(tower, distance, *pyramids, [6] * 4, source, reject_radius=[4.0, 3.0, 3.0, 3.0])
    elif way == "chunked":
        found = hierarchical(tower, distance, *pyramids, [6] * 4, source, max_candidates_per_batch=4)
    else:
        counts = [6, 4, 3, 2] if way == "per_level" else [6] * 4
        found = hierarchical(tower, distance, *pyramids, counts, source)
    codes = {f"{kind}{k}": getattr(level, kind) for k, level in enumerate(found.latents) for kind in level._fields}
    compare(f"search_{way}", {**codes, "distances": found.distances, "evaluations": torch.tensor(found.evaluations)})


@pytest.mark.parametrize(
    "file", ["train_tim_sr16x_consistent", "train_tim_colorization_variant", "train_tim_decompression_variant"]
)
def test_trained_weights_and_validation(file, photos, tmp_path):
    opt = json.loads(json.dumps(read_option_file(ROOT / "options" / f"{file}.yml")))
    opt["network_g"].update(SIZES)
    opt.update(num_gpu=0, manual_seed=0)
    for phase, dataset in opt["datasets"].items():
        dataset.update(dataroot_gt=str(photos), **({"gt_size": 32} if "gt_size" in dataset else {}))
        if phase == "train":
            dataset.update(batch_size_per_gpu=2, num_worker_per_gpu=0, dataset_enlarge_ratio=4)
    opt["imle"].update(samples_per_level=3, pool_size=4, search_batch=2, max_candidates_per_batch=4, reuse=2)
    opt["train"].update(total_iter=7, perceptual_opt={"type": "PerceptualDistanceLoss", **BUNDLED})
    opt["train"]["optim_g"]["lr"] = 1e-3
    opt["val"].update(val_freq=7, num_samples=2, metrics={"psnr": {"type": "calculate_psnr", "crop_border": 0}})
    opt["logger"].update(print_freq=1, save_checkpoint_freq=7, use_tb_logger=False, progress_bar=False)
    opt["path"]["experiments_root"] = str(tmp_path / "experiments")
    (tmp_path / "tiny.yml").write_text(yaml.safe_dump(opt))
    losses = []
    train_pipeline(
        str(tmp_path), ["-opt", str(tmp_path / "tiny.yml")], on_step=lambda i, log: losses.append(sorted(log.items()))
    )
    models = tmp_path / "experiments" / opt["name"] / "models"
    checkpoint = torch.load(models / "net_g_latest.pth", weights_only=True)
    logged = torch.tensor([[value for name, value in step if name != "search_age"] for step in losses]).double()
    pictures = sorted((tmp_path / "experiments").rglob("*_s0?.png"))
    assert pictures
    pixels = torch.stack([torch.from_numpy(cv2.imread(str(path))) for path in pictures])
    weights = {key: torch.cat([one.flatten() for one in checkpoint[key].values()]) for key in ("params", "params_ema")}
    found = {**weights, "losses": logged, "validation": pixels}
    drifting = dict.fromkeys(weights, 5e-3)  # of seven of Adam's steps of .001, of whose first ones the sign counts
    compare(f"training_{file.removesuffix('_variant')}", found, drifting)


def test_figures_of_evaluate(photos, tmp_path):
    shutil.copytree(photos, tmp_path / "gt")
    for path in sorted(photos.iterdir()):
        image = cv2.imread(str(path)).astype(int)
        for j in range(3):
            noise = np.random.default_rng(j).integers(-20, 21, image.shape)
            (tmp_path / "pred").mkdir(exist_ok=True)
            cv2.imwrite(
                str(tmp_path / "pred" / f"{path.stem}_s{j:02d}.png"), (image + noise).clip(0, 255).astype(np.uint8)
            )
    command = [ROOT / "tools" / "evaluate.py", "--pred", tmp_path / "pred", "--gt", tmp_path / "gt"]
    command += ["--task", "sr16x", "--metrics", "lpips,lpips_diversity,fwv,psnr,ssim,lr_psnr", "--device", "cpu"]
    command += ["--lpips-backbone", "tim_small", "--lpips-weights", "bundled", "--lpips-calibration", "bundled"]
    done = run_program(*command, "-o", tmp_path / "out.json")
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "out.json").read_text())["figures"]
    flat = []

    def walk(value):
        if isinstance(value, dict):
            [walk(item) for item in value.values()]
        elif isinstance(value, list):
            [walk(item) for item in value]
        elif isinstance(value, (int, float)):
            flat.append(float(value))

    walk(figures)
    assert len(flat) > 8
    compare("evaluate", {"figures": torch.tensor(flat, dtype=torch.float64)})
