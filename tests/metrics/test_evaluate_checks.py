"""What tools/evaluate.py refuses before it computes anything, what it crops, and others' ways to name samples."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from basicsr.metrics import calculate_psnr

from tim_plugin.degradations.base import Observed
from tim_plugin.degradations.bicubic import Bicubic
from tim_plugin.metrics import feature_extractors
from tim_plugin.metrics.report import without_infinities
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.folder_lock import locked
from tim_plugin.utils.images import read_image, to_pixels, write_png

SAMPLES = 2
FOLDERS = ("--pred", "pred", "--gt", "gt")
TO_REFUSE = [
    (("--metrics", "psnr", "-o", "file/figures.json"), "^-o file/figures.json: cannot be written to: "),
    (("--metrics", "psnr", "-o", "/proc/figures.json"), "^-o /proc/figures.json: cannot be written to: "),
    (("--metrics", "fid", "--cache", "file/cache"), "--cache file/cache: is no folder that files can be written to"),
    (("--metrics", "psnr,prc"), "--metrics prc: takes 6 ground truths, and there are 3"),
    (("--metrics", ""), "--metrics: names none: give some of fid, kid"),
    (("--metrics", " ,"), "--metrics: names none: give some of fid, kid"),
    (("-m", "net.pth"), "^-m: goes with -opt FILE; --pred names samples$"),
    (("-n", 0), "^-n: goes with -opt FILE; --pred names samples$"),
    (("--seed", -1), "^--seed: goes with -opt FILE"),
    (("--batch", 0), "^--batch: goes with -opt FILE"),
    (("--temperature", 99), "^--temperature: goes with -opt FILE"),
    (
        ("--metrics", "psnr", "--lpips-backbone", "vgg61"),
        "^--lpips-backbone 'vgg61' is not known: did you mean 'vgg16'",
    ),
    (("--metrics", "psnr", "--lpips-calibration", "lpisp"), "^--lpips-calibration 'lpisp' is not known: did you mean"),
    (("--metrics", "psnr", "--lpips-weights", "x.pth"), "^--lpips-weights 'x.pth' is neither imagenet nor random"),
    (("--basis", "digits"), "^--basis digits: goes with --task mnist_pca$"),
    *(
        (("--metrics", "psnr,ssim", *unread), f"^{unread[0]}: goes with --metrics {readers}")
        for readers, flags in {
            "fid, kid, prc, cfid$": [
                ("--samples-in-sets", 1),
                ("--cache", "cache"),
                ("--feature-extractor", "squeezenet"),
            ],
            "lpips, lpips_diversity, fwv": [("--lpips-backbone", "tim_small"), ("--lpips-calibration", "none")],
            "fwv$": [("--fwv-squared",), ("--fwv-reduction", "mean")],
        }.items()
        for unread in flags
    ),
    (("--metrics", "psnr", "--feature-extractor", "inceptoin"), "^--feature-extractor inceptoin: is neither inception"),
]
MISSING = [
    (
        ("--metrics", "lpips"),
        "--lpips-weights 'imagenet': vgg16-397923af.pth is not in .* the path of your copy as --lpips-weights PATH; "
        "--lpips-backbone tim_small needs no such file",
    ),
    (("--metrics", "lpips", "--lpips-backbone", "vgg17"), "^--lpips-backbone 'vgg17' is not known: .*'vgg16'.$"),
    (
        ("--metrics", "lpips", "--lpips-backbone", "tim_small", "--lpips-weights", "imagenet"),
        "^--lpips-weights 'imagenet': .* --lpips-weights bundled$",
    ),
    (("--metrics", "lpips", "--lpips-weights", "x.pth"), "^--lpips-weights 'x.pth' is neither imagenet nor random"),
    (
        ("--metrics", "fid", "--feature-extractor", "squeezenet"),
        "^--feature-extractor squeezenet: squeezenet1_1-b8a52dc0.pth is not in .* of your copy as --feature-extractor "
        "PATH; the measures other than fid, kid, prc and cfid need no such file$",
    ),
    (("--metrics", "fid"), "^--feature-extractor inception: .*; the measures other than fid, kid, prc and cfid need"),
    (
        ("--metrics", "fid", "--feature-extractor", "efficientnet_lite0"),
        "^--feature-extractor efficientnet_lite0: .* 'tim_plugin.evaluate.', .* the measures other than fid",
    ),
    (("--metrics", "kid", "--feature-extractor", "x.pth"), "^--feature-extractor x.pth: .* a file that is there"),
]


@pytest.fixture
def evaluate(monkeypatch, tmp_path, run_tool):
    """Return a function that runs the command in ``tmp_path`` and gives the content of its JSON file."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        run_tool(*arguments, *(() if "-o" in arguments else ("-o", "figures.json")))
        return json.loads(Path("figures.json").read_text())

    return call


@pytest.fixture
def folders(photos, tmp_path):
    """Three GTs, and two noisy samples of each in ``pred``."""
    for number, path in enumerate(sorted(photos.iterdir())[:3]):
        gt = read_image(path).rgb
        write_png(tmp_path / "gt" / path.name, gt)
        for index in range(SAMPLES):
            noise = torch.randn(gt.shape, generator=torch.Generator().manual_seed(10 * number + index))
            write_png(tmp_path / "pred" / f"{path.stem}_s{index}.png", (gt + 0.05 * noise).clamp(0, 1))
    return tmp_path


@pytest.mark.parametrize(("arguments", "message"), TO_REFUSE, ids=[str(arguments) for arguments, _ in TO_REFUSE])
def test_what_would_fail_in_the_end_is_refused_before_an_image_is_read(arguments, message, folders, evaluate):
    (folders / "file").write_text("no folder")
    for path in (folders / "pred").iterdir():
        path.write_bytes(b"")  # reading it would be another error
    with pytest.raises(TimError, match=message):
        evaluate(*FOLDERS, *arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-n", 0), "^-n 0: must be 1 or more"),
        (("--seed", -1), "^--seed -1: must be 0 or more"),
        (("--batch", 0), "^--batch 0: must be 1 or more"),
        (("--pattern", "{name}"), "^--pattern: goes with samples that are there; -opt names the data"),
        (("--basis", "x"), "^--basis: goes with samples that are there"),
        ((), "there is no folder .*; give the folder that holds the images"),  # the package's file is found by its name
    ],
)
def test_how_a_network_samples_is_checked_first(arguments, message, evaluate):
    with pytest.raises(TimError, match=message):
        evaluate("-opt", "sr4x", "--metrics", "psnr", *arguments)


def test_without_metrics_those_are_measured_that_need_no_download(folders, evaluate, no_network, capsys):
    content = evaluate(*FOLDERS, "--task", "sr16x")
    assert list(content["figures"]) == ["lpips", "lpips_diversity", "psnr", "ssim", "lr_psnr"]
    used = "psnr, ssim, lpips, lpips_diversity, consistency"
    assert f"--metrics: not given: {used}; lpips by tim_small feature distance: nothing" in capsys.readouterr().out
    conditions = content["conditions"]
    assert (conditions["metrics"], conditions["distance"]) == (f"{used} (by default)", "tim_small feature distance")
    renamed(folders, lambda name, index: None if index else f"{name}.png")
    assert list(evaluate(*FOLDERS, "--pattern", "{name}")["figures"]) == ["lpips", "psnr", "ssim"]


def test_two_commands_into_one_file_are_refused(folders, evaluate):
    with locked(folders / "figures.json", "another", beside=True):
        with pytest.raises(TimError, match="^-o figures.json: is in use by process"):
            evaluate(*FOLDERS, "--metrics", "psnr")
    assert evaluate(*FOLDERS, "--metrics", "psnr") and not list(folders.glob(".*"))


def test_one_ground_truth_makes_no_set(folders, evaluate):
    for path in sorted((folders / "gt").iterdir())[1:]:
        path.unlink()
    for name in ("fid", "kid"):
        with pytest.raises(TimError, match=f"--metrics {name}: takes 2 ground truths, and there are 1"):
            evaluate(*FOLDERS, "--metrics", name)


def test_figures_of_equal_images_are_json(folders, evaluate):
    for path in (folders / "pred").iterdir():
        path.write_bytes((folders / "gt" / f"{path.stem[:-3]}.png").read_bytes())
    evaluate(*FOLDERS, "--metrics", "psnr,ssim")
    content = json.loads((folders / "figures.json").read_text(), parse_constant=pytest.fail)  # Infinity is no JSON
    assert content["figures"]["psnr"] == {"mean": 100, "best": 100, "of_mean_sample": 100}
    assert content["figures"]["ssim"]["mean"] == pytest.approx(1)


def test_what_json_cannot_hold_is_null():
    content = {"a": [1.5, float("nan")], "b": {"c": float("-inf"), "d": "x", "e": 2, "f": True}}
    assert without_infinities(content) == {"a": [1.5, None], "b": {"c": None, "d": "x", "e": 2, "f": True}}


@pytest.fixture
def no_network(tmp_path, monkeypatch):
    """No file of trained weights is there, and none can be had."""

    def refuse(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(feature_extractors, "PACKAGE", "no_such_package")
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)


@pytest.mark.parametrize(("arguments", "message"), MISSING, ids=[" ".join(arguments) for arguments, _ in MISSING])
def test_a_missing_file_is_named_with_its_option_and_with_what_runs_without(
    arguments, message, folders, evaluate, no_network
):
    with pytest.raises(TimError, match=message):
        evaluate(*FOLDERS, *arguments)


def test_tim_small_runs_without_a_file(folders, evaluate, no_network):
    small = ("--lpips-backbone", "tim_small", "--lpips-weights", "bundled", "--lpips-calibration", "bundled")
    assert evaluate(*FOLDERS, "--metrics", "lpips", *small)["figures"]["lpips"]["mean"] > 0


@pytest.mark.parametrize("with_inputs", [True, False])
@pytest.mark.parametrize("cut_samples", [True, False])
def test_what_the_scale_does_not_divide_is_cut_before_anything_is_measured(with_inputs, cut_samples, folders, evaluate):
    psnr, lr_psnr = [], []
    for path in sorted((folders / "gt").iterdir()):
        gt = read_image(path).rgb[:, :50, :67]
        write_png(path, gt)
        lq = Bicubic(16).degrade(gt[:, :48, :64]).lq
        write_png(folders / "lq" / path.name, lq)
        for sample_path in sorted((folders / "pred").glob(f"{path.stem}_s*")):
            sample = read_image(sample_path).rgb[:, :48, :64]
            outside = torch.zeros(3, 50, 67)  # would be seen if it counted
            outside[:, :48, :64] = sample
            write_png(sample_path, sample if cut_samples else outside)
            psnr.append(calculate_psnr(to_pixels(sample), to_pixels(gt[:, :48, :64]), 0))
            lr_psnr.append(float(Bicubic(16).measure(sample[None], Observed(lq[None]))["lr_psnr"]))
    inputs = ("--lq", "lq") if with_inputs else ()
    content = evaluate(*FOLDERS, "--task", "sr16x", *inputs, "--metrics", "psnr,lr_psnr")
    assert content["figures"]["psnr"]["mean"] == pytest.approx(np.mean(psnr), abs=1e-6)
    assert content["figures"]["lr_psnr"]["worst"] == pytest.approx(np.min(lr_psnr), abs=1e-4)
    assert content["conditions"]["cut_to_multiples_of"] == 16


def test_images_that_fit_no_cut_are_refused(folders, evaluate):
    first = sorted((folders / "pred").iterdir())[0]
    write_png(first, torch.zeros(3, 63, 80))
    with pytest.raises(TimError, match=f"{first.name}: is 80x63 pixels large, its ground truth .* 80x64"):
        evaluate(*FOLDERS, "--task", "sr16x", "--metrics", "psnr")
    write_png(folders / "gt" / f"{first.stem[:-3]}.png", torch.zeros(3, 15, 80))
    with pytest.raises(TimError, match=f"{first.stem[:-3]}.png: is 80x15 pixels large, smaller than one pixel .* 16"):
        evaluate(*FOLDERS, "--task", "sr16x", "--metrics", "psnr")


def renamed(folders, name_of):
    """Rename each sample's file by a function of its GT's name and its index; None leaves it out."""
    for path in sorted((folders / "pred").iterdir()):
        name, index = path.stem[:-3], int(path.stem[-1])
        new = name_of(name, index)
        if new is None:
            path.unlink()
        else:
            (folders / "pred" / new).parent.mkdir(exist_ok=True)
            path.rename(folders / "pred" / new)


@pytest.mark.parametrize("pattern", ["{name}", "{name}_RRDBNet"])
def test_methods_that_give_one_answer_are_evaluated(pattern, folders, evaluate):
    of_both = evaluate(*FOLDERS, "--metrics", "psnr")["figures"]["psnr"]
    renamed(folders, lambda name, index: None if index else f"{pattern.format(name=name)}.png")
    content = evaluate(*FOLDERS, "--pattern", pattern, "--metrics", "psnr")
    assert content["conditions"]["samples_of_each"] == 1
    psnr = content["figures"]["psnr"]
    assert psnr["mean"] == psnr["best"] == pytest.approx(psnr["of_mean_sample"]) != of_both["mean"]
    with pytest.raises(TimError, match="fwv: takes 2 samples of each input, and there are 1"):
        evaluate(*FOLDERS, "--pattern", pattern, "--metrics", "fwv")


def test_names_may_hold_a_line_break(folders, evaluate):
    before = evaluate(*FOLDERS, "--metrics", "psnr")["figures"]
    for path in [*(folders / "pred").iterdir(), *(folders / "gt").iterdir()]:
        path.rename(path.with_name(f"a\n{path.name}"))
    assert evaluate(*FOLDERS, "--metrics", "psnr")["figures"] == before


def test_a_folder_for_each_input_is_read(folders, evaluate):
    before = evaluate(*FOLDERS, "--metrics", "psnr")
    renamed(folders, lambda name, index: f"{name}/{index:03d}.png")
    with pytest.raises(TimError, match="--pred pred: holds no image: .*--pattern '{name}/{index}'"):
        evaluate(*FOLDERS, "--metrics", "psnr")
    after = evaluate(*FOLDERS, "--pattern", "{name}/{index}", "--metrics", "psnr")
    assert after["figures"] == before["figures"]
    assert after["conditions"]["samples_of_each"] == SAMPLES


def test_a_file_of_the_ground_truths_name_is_told_how_to_be_read(folders, evaluate):
    renamed(folders, lambda name, index: None if index else f"{name}.png")
    with pytest.raises(TimError, match="no file is named {name}_s{index} .*--pattern, such as '{name}'"):
        evaluate(*FOLDERS, "--metrics", "psnr")


def test_an_input_that_cannot_be_read_is_left_out_and_the_others_are_measured(folders, evaluate, capsys):
    first, second, third = sorted((folders / "gt").iterdir())
    with pytest.raises(TimError, match=f"{second.stem}_s1.png: is an empty file; 1 of 3 inputs are left out"):
        (folders / "pred" / f"{second.stem}_s1.png").write_bytes(b"")
        evaluate(*FOLDERS, "--metrics", "psnr")
    assert f"skipped: pred/{second.stem}_s1.png: is an empty file" in capsys.readouterr().err
    content = json.loads(Path("figures.json").read_text())
    assert (content["conditions"]["inputs"], content["conditions"]["left_out"]) == (2, "1 of 3 inputs")
    second.unlink()
    assert evaluate(*FOLDERS, "--metrics", "psnr")["figures"] == content["figures"]
    for path in (first, third):
        path.write_bytes(b"damaged")
    with pytest.raises(TimError, match=f"{first.name}: cannot be decoded"):
        evaluate(*FOLDERS, "--metrics", "psnr")


def test_ssim_of_images_smaller_than_its_window_is_refused_by_name(folders, evaluate):
    for path in (folders / "gt").iterdir():
        write_png(path, torch.rand(3, 6, 6))
        for index in range(SAMPLES):
            write_png(folders / "pred" / f"{path.stem}_s{index}.png", torch.rand(3, 6, 6))
    with pytest.raises(TimError, match="photo00: is 6x6; ssim needs 11x11 pixels or more"):
        evaluate(*FOLDERS, "--metrics", "psnr,ssim")
    assert evaluate(*FOLDERS, "--metrics", "psnr")["figures"]["psnr"]["mean"] > 0
