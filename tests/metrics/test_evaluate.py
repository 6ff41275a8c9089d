"""tools/evaluate.py on folders: its figures equal brute force, its mistakes are named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torchvision
from basicsr.metrics import calculate_psnr, calculate_ssim
from basicsr.utils import tensor2img
from basicsr.utils.matlab_functions import imresize

from support.command_lines import run_program
from tim_plugin.degradations.bicubic import Bicubic
from tim_plugin.degradations.tasks import get_task
from tim_plugin.losses.distance import PerceptualDistance
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.images import read_image, write_png

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "evaluate.py"
RANDOM = ["--lpips-backbone", "squeezenet1_1", "--lpips-weights", "random", "--lpips-calibration", "none"]
SAMPLES = 3
TASKS_WITH_INPUTS = [("colorization", True), ("decompression", True), ("mnist_pca", True), ("sr4x", True)]
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
    (("--pred", "pred", "--gt", "gt", "--metrics", "coverge"), "coverge: is not known: .*coverage"),
    (("--pred", "pred", "--gt", "gt", "--metrics", "s10"), "takes 10 samples of each input, and there are 3"),
    (("--pred", "pred", "--gt", "gt", "--samples-in-sets", "0"), "must be 1 or more"),
    (("--pred", "pred", "--gt", "gt", "-m", "x.pth"), "-m: goes with -opt FILE"),
    (("--pred", "pred", "--gt", "gt", "-o", "gt"), "is a folder; give a file"),
    (("-opt", "x.yml", "--pred", "pred"), "--pred: goes with samples that are there"),
]


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


def read(folder, pattern):
    return [read_image(path).rgb for path in sorted(folder.glob(pattern))]


def test_numbers_right_behind_a_name_are_read_beyond_9(folders, run_tool):
    gt = sorted((folders / "gt").iterdir())[0]
    (folders / "one").mkdir()
    shutil.copy(gt, folders / "one" / "img.png")
    for index in range(12):
        write_png(folders / "samples" / f"img{index}.png", read_image(gt).rgb * index / 12)
    run_tool("--pred", folders / "samples", "--gt", folders / "one", "--pattern", "{name}{index}", "--metrics", "psnr",
        "-o", folders / "out.json",
    )  # fmt: skip
    content = json.loads((folders / "out.json").read_text())
    assert content["conditions"]["samples_of_each"] == 12


def test_figures_of_folders_equal_brute_force(folders, run_tool, capsys):
    run_tool("--pred", folders / "pred", "--gt", folders / "gt", "--task", "sr16x", "--lq", folders / "lq",
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


def test_the_space_score_takes_ten_samples_and_maps_of_each(folders, run_tool):
    for path in sorted((folders / "gt").iterdir())[2:]:
        path.unlink()
    for path in list((folders / "pred").glob("*_s02.png")):
        for index in range(3, 10):
            write_png(path.with_name(path.name.replace("s02", f"s{index:02d}")), read_image(path).rgb.flip(-1))
    run_tool("--pred", folders / "pred", "--gt", folders / "gt", "--metrics", "s10", *RANDOM,
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


def test_sets_count_all_samples_or_so_many(folders, run_tool, tmp_path, capsys):
    torch.manual_seed(0)
    torch.save(torchvision.models.squeezenet1_1(weights=None).state_dict(), tmp_path / "squeeze.pth")
    common = ["--pred", folders / "pred", "--gt", folders / "gt", "--metrics", "fid,kid,prc"]
    common += ["--feature-extractor", tmp_path / "squeeze.pth", "--cache", tmp_path / "cache"]
    figures = {}
    for count in (None, 1):
        some = [] if count is None else ["--samples-in-sets", count]
        run_tool(*common, *some, "-o", tmp_path / "f.json")
        figures[count] = json.loads((tmp_path / "f.json").read_text())["figures"]
    assert figures[None]["images_in_sets"] == {"samples": 18, "ground_truths": 6, "samples_of_each": 3}
    assert figures[1]["images_in_sets"] == {"samples": 6, "ground_truths": 6, "samples_of_each": 1}
    assert figures[None]["frechet_squeezenet"] != figures[1]["frechet_squeezenet"]
    names = {"frechet_squeezenet", "frechet_squeezenet_parts", "kid_squeezenet", "prc", "density_coverage"}
    names |= {"images_in_sets"}
    assert set(figures[None]) == set(figures[1]) == names
    parts = figures[None]["frechet_squeezenet_parts"]
    assert parts["means"] + parts["spreads"] == pytest.approx(figures[None]["frechet_squeezenet"], rel=1e-3)
    assert len(list((tmp_path / "cache").iterdir())) == 6
    run_tool(*common, "--metrics", "fid", "--floor", folders / "gt", "-o", tmp_path / "f.json")
    content = json.loads((tmp_path / "f.json").read_text())
    assert content["conditions"]["floor"] == str(folders / "gt")
    assert content["figures"]["floor"]["frechet_squeezenet"] < figures[None]["frechet_squeezenet"] / 1000
    assert "floor frechet_squeezenet" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("task", "given"), [*TASKS_WITH_INPUTS, ("colorization", False), ("mnist_pca", False), ("sr4x", False)]
)
def test_consistency_of_every_task_is_that_of_its_degradation(task, given, photos, tmp_path, run_tool):
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
    arguments = ["--pred", tmp_path / "pred", "--gt", tmp_path / "gt", "--task", task, "--metrics", "consistency"]
    arguments += ["--lq", tmp_path / "lq"] if given else []
    arguments += ["--basis", section["basis"]] if section else []
    run_tool(*arguments, "-o", tmp_path / "f.json")
    figures = json.loads((tmp_path / "f.json").read_text())["figures"]
    assert set(figures) == set(degradation.measured)
    for name, measure in degradation.measured.items():
        better = {"higher": np.greater, "lower": np.less}[measure.better]
        assert better(figures[name]["mean"], figures[name]["worst"])  # the GT is more consistent than the noisy one


@pytest.mark.parametrize(("arguments", "message"), WRONG, ids=[message for _, message in WRONG])
def test_mistakes_are_named(arguments, message, folders, monkeypatch, run_tool):
    monkeypatch.chdir(folders)
    metrics = [] if "--metrics" in arguments else ["--metrics", "psnr"]
    with pytest.raises(TimError, match=message):
        run_tool(*arguments, *metrics)


def test_missing_odd_and_misfitting_samples_are_named(folders, run_tool):
    common = ["--pred", folders / "pred", "--gt", folders / "gt", "--metrics", "psnr"]
    last = sorted((folders / "pred").glob("*_s02.png"))[-1]
    content = last.read_bytes()
    last.unlink()
    with pytest.raises(TimError, match=f"holds 2 samples of {last.stem[:-4]}, but 3 of"):
        run_tool(*common)
    write_png(last, torch.zeros(3, 8, 9))
    with pytest.raises(TimError, match=f"{last.name}: is 9x8 pixels large, its ground truth .* 80x64"):
        run_tool(*common)
    last.write_bytes(content[: len(content) // 2])
    with pytest.raises(TimError, match=last.name):
        run_tool(*common)
    for path in (folders / "pred").glob(f"{last.stem[:-4]}_s*"):
        path.unlink()
    with pytest.raises(TimError, match=r"holds no samples of .*\(1 of 6"):
        run_tool(*common)


def test_two_ground_truths_of_one_name_are_refused(folders, run_tool):
    path = sorted((folders / "gt").iterdir())[0]
    path.with_suffix(".bmp").write_bytes(cv2.imencode(".bmp", cv2.imread(str(path)))[1].tobytes())
    with pytest.raises(TimError, match=f"--gt .*: holds {path.stem}.bmp and {path.name}, which have one name"):
        run_tool("--pred", folders / "pred", "--gt", folders / "gt", "--metrics", "psnr")


def test_others_names_are_matched_and_the_command_runs_as_a_user_runs_it(folders):
    for path in (folders / "pred").glob("*_s0*.png"):
        path.rename(path.with_name(f"{path.stem[:-4]}_sample0000{path.stem[-1]}.png"))
    command = [TOOL, "--pred", "pred", "--gt", "gt", "--metrics", "psnr", "--pattern", "{name}_sample{index}"]
    done = run_program(*command, cwd=folders)
    assert done.returncode == 0, done.stderr
    assert "psnr of_mean_sample" in done.stdout and "samples_of_each: 3" in done.stdout and "6/6" in done.stderr
    done = run_program(*command, "--task", "sr16", cwd=folders)
    assert done.returncode == 2 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
