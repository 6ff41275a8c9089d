"""tools/evaluate.py on folders and on a network: its figures equal brute force, its mistakes are named."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torchvision
import yaml
from basicsr.metrics import calculate_psnr, calculate_ssim
from basicsr.utils import tensor2img
from basicsr.utils.matlab_functions import imresize

from tim_plugin.degradations.base import Observed
from tim_plugin.degradations.bicubic import Bicubic
from tim_plugin.degradations.tasks import get_task
from tim_plugin.inference.image_samples import sample_image
from tim_plugin.losses.distance import PerceptualDistance
from tim_plugin.utils.checkpoints import load_network
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.images import read_image, write_png

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "evaluate.py"
RANDOM = ["--lpips-backbone", "squeezenet1_1", "--lpips-weights", "random", "--lpips-calibration", "none"]
SAMPLES = 3


@pytest.fixture
def folders(photos, tmp_path):
    """GT, LQ (16x) and samples: the GT with another shift of brightness and noise each."""
    for number, path in enumerate(sorted(photos.iterdir())):
        gt = read_image(path).rgb
        write_png(tmp_path / "gt" / path.name, gt)
        write_png(tmp_path / "lq" / path.name, Bicubic(16).degrade(gt).lq)
        for index in range(SAMPLES):
            generator = torch.Generator().manual_seed(100 * number + index)
            sample = gt + 0.03 * index + 0.05 * torch.randn(gt.shape, generator=generator)
            write_png(tmp_path / "pred" / f"{path.stem}_s{index:02d}.png", sample.clamp(0, 1))
        write_png(tmp_path / "pred" / f"{path.stem}_sheet.png", gt)
    return tmp_path


def evaluate(monkeypatch, *arguments):
    spec = importlib.util.spec_from_file_location("evaluate_tool", TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *map(str, arguments)])
    tool.main()


def read(folder, pattern):
    return [read_image(path).rgb for path in sorted(folder.glob(pattern))]


def test_figures_of_folders_equal_brute_force(folders, monkeypatch, capsys):
    evaluate(
        monkeypatch, "--pred", folders / "pred", "--gt", folders / "gt", "--task", "sr16x", "--lq", folders / "lq",
        "--metrics", "lpips,lpips_diversity,fwv,psnr,ssim,lr_psnr", *RANDOM, "-o", folders / "out" / "figures.json",
    )  # fmt: skip
    content = json.loads((folders / "out" / "figures.json").read_text())
    figures = content["figures"]
    distance = PerceptualDistance(backbone="squeezenet1_1", weights="random", calibration="none")
    to_gt, pairs, fwv, psnr, ssim, of_mean, lr_psnr = [], [], [], [], [], [], []
    with torch.no_grad():
        for path in sorted((folders / "gt").iterdir()):
            gt, samples = read_image(path).rgb, read(folders / "pred", f"{path.stem}_s0*.png")
            assert len(samples) == SAMPLES
            each = [float(distance(one[None], gt[None])) for one in samples]
            mean = torch.stack(samples).mean(dim=0)
            spread = [float(distance(one[None], mean[None])) for one in samples]
            to_gt.append(each)
            fwv.append(np.mean([np.exp(-d / (2 * 0.2**2)) * v for d, v in zip(each, spread, strict=True)]))
            pairs += [float(distance(a[None], b[None])) for i, a in enumerate(samples) for b in samples[:i]]
            psnr.append([calculate_psnr(tensor2img(one), tensor2img(gt), 0) for one in samples])
            ssim.append([calculate_ssim(tensor2img(one), tensor2img(gt), 0) for one in samples])
            of_mean.append(calculate_psnr(tensor2img(mean), tensor2img(gt), 0))
            lq = read_image(folders / "lq" / path.name).rgb
            for one in samples:
                small = (imresize(one, 1 / 16).clamp(0, 1) * 255).round() / 255
                lr_psnr.append(-10 * float(((small - lq) ** 2).mean().log10()))
    assert figures["lpips"]["mean"] == pytest.approx(np.mean(to_gt), rel=1e-4)
    assert figures["lpips"]["best_of_3"] == pytest.approx(np.min(to_gt, axis=1).mean(), rel=1e-4)
    assert len(figures["lpips"]["best_of_curve"]) == SAMPLES
    assert figures["lpips_diversity"] == pytest.approx(np.mean(pairs), rel=1e-4)
    assert figures["fwv"]["0.2"] == pytest.approx(np.mean(fwv), rel=1e-3)
    assert figures["psnr"]["mean"] == pytest.approx(np.mean(psnr), abs=1e-6)
    assert figures["psnr"]["best"] == pytest.approx(np.max(psnr, axis=1).mean(), abs=1e-6)
    assert figures["psnr"]["of_mean_sample"] == pytest.approx(np.mean(of_mean), abs=1e-3)
    assert figures["ssim"]["mean"] == pytest.approx(np.mean(ssim), abs=1e-6)
    assert figures["lr_psnr"]["mean"] == pytest.approx(np.mean(lr_psnr), abs=0.3)
    assert figures["lr_psnr"]["worst"] == pytest.approx(np.min(lr_psnr), abs=0.3)
    assert content["conditions"]["distance"] == distance.name and content["conditions"]["samples_of_each"] == SAMPLES
    assert "exp(-d / (2 sigma^2))" in content["conditions"]["fwv"]
    printed = capsys.readouterr().out
    assert "lpips_diversity" in printed and "lr_psnr worst" in printed and distance.name in printed


def test_the_space_score_takes_ten_samples_and_maps_of_each(folders, monkeypatch):
    for path in sorted((folders / "gt").iterdir())[2:]:
        path.unlink()
    for path in list((folders / "pred").glob("*_s02.png")):
        for index in range(3, 10):
            write_png(path.with_name(path.name.replace("s02", f"s{index:02d}")), read_image(path).rgb.flip(-1))
    evaluate(
        monkeypatch, "--pred", folders / "pred", "--gt", folders / "gt", "--metrics", "s10", *RANDOM,
        "-o", folders / "figures.json",
    )  # fmt: skip
    content = json.loads((folders / "figures.json").read_text())
    distance, scores = PerceptualDistance(backbone="alexnet", weights="random", calibration="none"), []
    with torch.no_grad():
        for path in sorted((folders / "gt").iterdir()):
            target = distance.features(read_image(path).rgb[None])
            maps = [
                distance.maps(distance.features(one[None]), target, (64, 80))[0].double()
                for one in read(folders / "pred", f"{path.stem}_s0*.png")
            ]
            assert len(maps) == 10
            best = min(float(one.mean()) for one in maps)
            scores.append(100 * (best - float(torch.stack(maps).min(dim=0).values.mean())) / best)
    assert content["figures"]["s10"] == pytest.approx(np.mean(scores), rel=1e-4) and min(scores) > 0
    assert content["conditions"]["s10_distance"] == distance.name


def test_sets_count_all_samples_or_so_many(folders, monkeypatch, tmp_path):
    torch.manual_seed(0)
    torch.save(torchvision.models.squeezenet1_1(weights=None).state_dict(), tmp_path / "squeeze.pth")
    common = ["--pred", folders / "pred", "--gt", folders / "gt", "--metrics", "fid,kid,prc"]
    common += ["--feature-extractor", tmp_path / "squeeze.pth", "--cache", tmp_path / "cache"]
    figures = {}
    for count in (None, 1):
        some = [] if count is None else ["--samples-in-sets", count]
        evaluate(monkeypatch, *common, *some, "-o", tmp_path / "f.json")
        figures[count] = json.loads((tmp_path / "f.json").read_text())["figures"]
    assert figures[None]["images_in_sets"] == {"samples": 18, "ground_truths": 6}
    assert figures[1]["images_in_sets"] == {"samples": 6, "ground_truths": 6}
    assert figures[None]["frechet_squeezenet"] != figures[1]["frechet_squeezenet"]
    assert set(figures[1]) == {"frechet_squeezenet", "kid_squeezenet", "prc", "images_in_sets"}
    first = figures[None]["frechet_squeezenet_of_first_samples"]
    assert first == pytest.approx(figures[1]["frechet_squeezenet"], rel=1e-4)
    assert len(list((tmp_path / "cache").iterdir())) == 6


TASKS_WITH_INPUTS = [("colorization", True), ("decompression", True), ("mnist_pca", True), ("sr4x", True)]


@pytest.mark.parametrize(
    ("task", "given"), [*TASKS_WITH_INPUTS, ("colorization", False), ("mnist_pca", False), ("sr4x", False)]
)
def test_agreement_of_every_task_is_that_of_its_degradation(task, given, photos, tmp_path, monkeypatch):
    section = {"basis": "sklearn:digits/train"} if task == "mnist_pca" else {}
    degradation = get_task(task).build({**section, **({"quality": 30} if task == "decompression" else {})}, "here")
    for number, path in enumerate(sorted(photos.iterdir())[:2]):
        gt = read_image(path).rgb[: degradation.image_channels, :32, :32]
        write_png(tmp_path / "gt" / f"{path.stem}.png", gt)
        (tmp_path / "lq").mkdir(exist_ok=True)
        (tmp_path / "lq" / f"{path.stem}{degradation.suffix}").write_bytes(degradation.encode(gt))
        write_png(tmp_path / "pred" / f"{path.stem}_s0.png", gt)
        generator = torch.Generator().manual_seed(number)
        noisy = (gt + 0.2 * torch.randn(gt.shape, generator=generator)).clamp(0, 1)
        write_png(tmp_path / "pred" / f"{path.stem}_s1.png", noisy)
    arguments = ["--pred", tmp_path / "pred", "--gt", tmp_path / "gt", "--task", task, "--metrics", "agreement"]
    arguments += ["--lq", tmp_path / "lq"] if given else []
    arguments += ["--basis", section["basis"]] if section else []
    evaluate(monkeypatch, *arguments, "-o", tmp_path / "f.json")
    figures = json.loads((tmp_path / "f.json").read_text())["figures"]
    assert set(figures) == set(degradation.measured)
    for name, measure in degradation.measured.items():
        better = {"higher": np.greater, "lower": np.less}[measure.better]
        assert better(figures[name]["mean"], figures[name]["worst"])  # the GT agrees better than the noisy one


def test_a_network_is_evaluated_without_writing_images(photos, tiny_tower, tmp_path, monkeypatch):
    tower = tiny_tower(consistency="project")
    section = {"type": "TowerGenerator", **tower.portable(), "num_levels": 4, "trunk_channels": 4}
    section |= {"growth_channels": 4, "num_blocks": 1, "noise_channels": 2, "style_dim": 4}
    section |= {"mapping_width": 8, "mapping_layers": 2, "mapping_init": "he", "consistency": "project"}
    torch.save({"params_ema": tower.state_dict(), "network_g": section}, tmp_path / "net.pth")
    dataset = {"name": "mine", "type": "DegradedImageDataset", "task": "sr16x", "dataroot_gt": str(photos)}
    opt = {"name": "t", "model_type": "TIMModel", "scale": 16, "num_gpu": 0, "manual_seed": 0}
    opt |= {"datasets": {"test_1": dataset}, "network_g": section, "path": {"pretrain_network_g": None}}
    opt |= {"val": {"save_img": False, "num_samples": 2}}
    (tmp_path / "t.yml").write_text(yaml.safe_dump(opt))
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.rglob("*"))
    evaluate(
        monkeypatch, "-opt", tmp_path / "t.yml", "-m", tmp_path / "net.pth", "-n", 2, "--metrics", "psnr,agreement",
        "-o", tmp_path / "f.json",
    )  # fmt: skip
    assert set(tmp_path.rglob("*")) - before == {tmp_path / "f.json"}
    figures = json.loads((tmp_path / "f.json").read_text())["figures"]
    gt = read_image(sorted(photos.iterdir())[0]).rgb
    loaded, _ = load_network(tmp_path / "net.pth")
    first = sample_image(loaded, Observed(Bicubic(16).degrade(gt).lq[None]), 2, 0, 0)
    assert first.shape == (2, *gt.shape)
    assert figures["lr_psnr"]["worst"] >= 45 and figures["lr_psnr"]["unit"] == "dB"
    assert 5 < figures["psnr"]["mean"] < 40


def test_a_data_set_without_coefficients_has_no_agreement_to_measure(photos, tiny_tower, tmp_path, monkeypatch):
    tower = tiny_tower(placement="same", degradation={"type": "jpeg"})
    section = {"type": "TowerGenerator", "num_levels": 4, "trunk_channels": 4, "growth_channels": 4, "num_blocks": 1}
    section |= {"noise_channels": 2, "style_dim": 4, "mapping_width": 8, "mapping_layers": 2, "mapping_init": "he"}
    section |= {"placement": "same", "degradation": {"type": "jpeg"}}
    torch.save({"params_ema": tower.state_dict(), "network_g": section}, tmp_path / "net.pth")
    dataset = {"name": "mine", "type": "PairedImageDataset", "dataroot_gt": str(photos), "dataroot_lq": str(photos)}
    opt = {"name": "t", "model_type": "TIMModel", "scale": 1, "num_gpu": 0, "manual_seed": 0}
    opt |= {"datasets": {"test_1": {**dataset, "io_backend": {"type": "disk"}}}, "network_g": section}
    opt |= {"path": {"pretrain_network_g": None}, "val": {"save_img": False}}
    (tmp_path / "t.yml").write_text(yaml.safe_dump(opt))
    monkeypatch.chdir(tmp_path)
    common = ["-opt", tmp_path / "t.yml", "-m", tmp_path / "net.pth", "-n", 2, "-o", tmp_path / "f.json"]
    with pytest.raises(TimError, match="--metrics agreement: compares samples with their input"):
        evaluate(monkeypatch, *common, "--metrics", "agreement")
    evaluate(monkeypatch, *common, "--metrics", "psnr")
    assert set(json.loads((tmp_path / "f.json").read_text())["figures"]) == {"psnr"}


WRONG = [
    ((), "give --pred DIR and --gt DIR, or -opt FILE"),
    (("--pred", "nowhere", "--gt", "gt"), "--pred .*nowhere: there is no such folder"),
    (("--pred", "pred", "--gt", "gt", "--pattern", "{name}-{index}"), "no file is named {name}-{index}"),
    (("--pred", "pred", "--gt", "gt", "--pattern", "{index}"), "must hold {name} once"),
    (("--pred", "pred", "--gt", "gt", "--pattern", "{name}{index}{index}"), "must hold {index} once, or not at all"),
    (("--pred", "pred", "--gt", "gt", "--lq", "lq"), "say which --task"),
    (("--pred", "pred", "--gt", "gt", "--task", "sr32x"), "'sr32x' is not known"),
    (("--pred", "pred", "--gt", "gt", "--task", "layouts"), "nothing to compare with"),
    (("--pred", "pred", "--gt", "gt", "--task", "decompression"), "needs the inputs themselves: give --lq"),
    (("--pred", "pred", "--gt", "gt", "--metrics", "psnrr"), "psnrr: is not known: .*psnr"),
    (("--pred", "pred", "--gt", "gt", "--metrics", "lr_psnr"), "say which --task made it"),
    (("--pred", "pred", "--gt", "gt", "--metrics", "s10"), "takes 10 samples of each input, and there are 3"),
    (("--pred", "pred", "--gt", "gt", "--samples-in-sets", "0"), "must be 1 or more"),
    (("--pred", "pred", "--gt", "gt", "-m", "x.pth"), "-m: goes with -opt FILE"),
    (("--pred", "pred", "--gt", "gt", "-o", "gt"), "is a folder; give a file"),
    (("-opt", "x.yml", "--pred", "pred"), "--pred: goes with samples that are there"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG, ids=[message for _, message in WRONG])
def test_mistakes_are_named(arguments, message, folders, monkeypatch):
    monkeypatch.chdir(folders)
    metrics = [] if "--metrics" in arguments else ["--metrics", "psnr"]
    with pytest.raises(TimError, match=message):
        evaluate(monkeypatch, *arguments, *metrics)


def test_missing_odd_and_misfitting_samples_are_named(folders, monkeypatch):
    common = ["--pred", folders / "pred", "--gt", folders / "gt", "--metrics", "psnr"]
    last = sorted((folders / "pred").glob("*_s02.png"))[-1]
    content = last.read_bytes()
    last.unlink()
    with pytest.raises(TimError, match=f"holds 2 samples of {last.stem[:-4]}, but 3 of"):
        evaluate(monkeypatch, *common)
    write_png(last, torch.zeros(3, 8, 9))
    with pytest.raises(TimError, match=f"{last.name}: is 9x8 pixels large, its ground truth .* 80x64"):
        evaluate(monkeypatch, *common)
    last.write_bytes(content[: len(content) // 2])
    with pytest.raises(TimError, match=last.name):
        evaluate(monkeypatch, *common)
    for path in (folders / "pred").glob(f"{last.stem[:-4]}_s*"):
        path.unlink()
    with pytest.raises(TimError, match=r"holds no samples of .*\(1 of 6"):
        evaluate(monkeypatch, *common)


def test_two_ground_truths_of_one_name_are_refused(folders, monkeypatch):
    path = sorted((folders / "gt").iterdir())[0]
    path.with_suffix(".bmp").write_bytes(cv2.imencode(".bmp", cv2.imread(str(path)))[1].tobytes())
    with pytest.raises(TimError, match=f"--gt .*: holds {path.stem}.bmp and {path.name}, which have one name"):
        evaluate(monkeypatch, "--pred", folders / "pred", "--gt", folders / "gt", "--metrics", "psnr")


def test_others_names_are_matched_and_the_command_runs_as_a_user_runs_it(folders):
    for path in (folders / "pred").glob("*_s0*.png"):
        path.rename(path.with_name(f"{path.stem[:-4]}_sample0000{path.stem[-1]}.png"))
    command = [sys.executable, str(TOOL), "--pred", "pred", "--gt", "gt", "--metrics", "psnr"]
    command += ["--pattern", "{name}_sample{index}"]
    done = subprocess.run(command, cwd=folders, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "psnr of_mean_sample" in done.stdout and "samples_of_each: 3" in done.stdout and "6/6" in done.stderr
    done = subprocess.run([*command, "--task", "sr16"], cwd=folders, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def test_a_network_without_parameters_needs_no_checkpoint(photos, monkeypatch, tmp_path):
    option_file = ROOT / "options" / "baselines" / "test_bicubic_sr16x.yml"
    forced = [f"datasets:test_1:dataroot_gt={photos}", "datasets:test_1:gt_size=32", "num_gpu=0"]
    evaluate(
        monkeypatch,
        "-opt",
        option_file,
        "-n",
        1,
        "--metrics",
        "psnr,lr_psnr",
        "-o",
        tmp_path / "f.json",
        "--force_yml",
        *forced,
    )
    figures = json.loads((tmp_path / "f.json").read_text())["figures"]
    assert figures["psnr"]["mean"] > 10 and figures["lr_psnr"]["worst"] > 20
    with pytest.raises(TimError, match="names no path: pretrain_network_g; give the checkpoint with -m"):
        evaluate(
            monkeypatch,
            "-opt",
            option_file,
            "--metrics",
            "psnr",
            "--force_yml",
            *forced,
            "network_g:type=RepeatedRRDBNet",
        )
