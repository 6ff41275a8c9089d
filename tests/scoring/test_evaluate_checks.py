"""What tools/evaluate.py refuses before it computes anything, what it crops, and others' ways to name samples."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch

from tim_plugin.errors import TimError
from tim_plugin.images import read_image, write_png
from tim_plugin.scoring.report import without_infinities

TOOL = Path(__file__).resolve().parents[2] / "tools" / "evaluate.py"
SAMPLES = 2


@pytest.fixture
def evaluate(monkeypatch, tmp_path):
    """Return a function that runs the command in ``tmp_path`` and gives the content of its JSON file."""
    monkeypatch.chdir(tmp_path)
    spec = importlib.util.spec_from_file_location("evaluate_tool", TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)

    def call(*arguments):
        given = [*map(str, arguments), *(() if "-o" in arguments else ("-o", "figures.json"))]
        monkeypatch.setattr(sys, "argv", ["evaluate.py", *given])
        tool.main()
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


FOLDERS = ("--pred", "pred", "--gt", "gt")
TO_REFUSE = [
    (("--metrics", "psnr", "-o", "file/figures.json"), "-o file/figures.json: .*file.* is no folder that"),
    (("--metrics", "psnr", "-o", "/proc/figures.json"), "-o /proc/figures.json: .*/proc.* is no folder that"),
    (("--metrics", "fid", "--cache", "file/cache"), "--cache file/cache: is no folder that files can be written to"),
    (("--metrics", "psnr,prc"), "--metrics prc: takes 4 ground truths, and there are 3"),
    (("--metrics", ""), "--metrics: names none: give some of fid, kid"),
    (("--metrics", " ,"), "--metrics: names none: give some of fid, kid"),
]


@pytest.mark.parametrize(("arguments", "message"), TO_REFUSE, ids=[str(arguments) for arguments, _ in TO_REFUSE])
def test_what_would_fail_in_the_end_is_refused_before_an_image_is_read(arguments, message, folders, evaluate):
    (folders / "file").write_text("no folder")
    for path in (folders / "pred").iterdir():
        path.write_bytes(b"")  # reading it would be another error
    with pytest.raises(TimError, match=message):
        evaluate(*FOLDERS, *arguments)


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
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)


MISSING = [
    (
        ("--metrics", "lpips"),
        "--lpips-weights 'imagenet': vgg16-397923af.pth is not in .* the path of your copy as --lpips-weights PATH; "
        "--lpips-backbone tim_small --lpips-weights bundled --lpips-calibration bundled needs no such file",
    ),
    (("--metrics", "lpips", "--lpips-backbone", "vgg17"), "^--lpips-backbone 'vgg17' is not known: .*'vgg16'.$"),
    (
        ("--metrics", "lpips", "--lpips-backbone", "tim_small"),
        "^--lpips-weights 'imagenet': .* --lpips-weights bundled$",
    ),
    (("--metrics", "lpips", "--lpips-weights", "x.pth"), "^--lpips-weights 'x.pth' is neither imagenet nor random"),
    (
        ("--metrics", "fid", "--feature-extractor", "squeezenet"),
        "^--feature-extractor squeezenet: squeezenet1_1-b8a52dc0.pth is not in .* of your copy as --feature-extractor "
        "PATH; the measures other than fid, kid and prc need no such file$",
    ),
    (("--metrics", "fid"), "^--feature-extractor inception: .*; the measures other than fid, kid and prc need no such"),
    (("--metrics", "kid", "--feature-extractor", "x.pth"), "^--feature-extractor x.pth: .* a file that is there"),
]


@pytest.mark.parametrize(("arguments", "message"), MISSING, ids=[" ".join(arguments) for arguments, _ in MISSING])
def test_a_missing_file_is_named_with_its_option_and_with_what_runs_without(
    arguments, message, folders, evaluate, no_network
):
    with pytest.raises(TimError, match=message):
        evaluate(*FOLDERS, *arguments)


def test_tim_small_runs_without_a_file(folders, evaluate, no_network):
    small = ("--lpips-backbone", "tim_small", "--lpips-weights", "bundled", "--lpips-calibration", "bundled")
    assert evaluate(*FOLDERS, "--metrics", "lpips", *small)["figures"]["lpips"]["mean"] > 0
