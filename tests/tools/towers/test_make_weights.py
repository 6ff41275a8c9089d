"""Towers that are shipped: made by one command from photographs to file, card and picture; loaded by name."""

from __future__ import annotations

import json
import runpy
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torchvision
import yaml

import tim_plugin as tim
from paper.presets import SMALL
from paper.run_conditions import clean_machine
from paper.workbench import Workbench
from tim_plugin.inference import towers as pretrained
from tim_plugin.integrations import model_card
from tim_plugin.metrics.summary import Row
from tim_plugin.options.option_file import read_option_file
from tim_plugin.utils import bundled
from tim_plugin.utils.checkpoints import load_network
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.images import read_image, write_png
from tim_plugin.utils.resize import bicubic_resize
from towers import make as weights
from towers.earlier import earlier_tower, scale_features
from towers.recipes import TOWERS
from towers.temperature import keep_temperature

ROOT = Path(__file__).resolve().parents[3]
SIZES = ("trunk_channels", "growth_channels", "num_blocks", "noise_channels", "mapping_width", "mapping_layers")


@pytest.fixture
def bench(project_copy, photos, tiny_network, tmp_path, monkeypatch):
    """Photographs, tiny networks, two iterations, and a package without weights."""
    monkeypatch.setattr(bundled, "FOLDER", tmp_path / "package")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / bundled.CHECKSUMS).write_text("{}")
    monkeypatch.setattr(model_card, "CARDS", tmp_path / "package" / "cards.json")
    model_card.CARDS.write_text("{}")
    for path in (project_copy / "tools" / "towers" / "options").iterdir():
        opt = json.loads(json.dumps(read_option_file(path)))
        levels = opt["network_g"]["num_levels"]
        for key in SIZES:
            value = tiny_network[key]
            opt["network_g"][key] = [value[0]] * levels if isinstance(value, list) else value
        if "imle" in opt:  # not where a tower is trained on without a search
            opt["imle"].update(samples_per_level=2, pool_size=4, reuse=2, search_batch=2)
        opt["datasets"]["train"]["batch_size_per_gpu"] = 2
        opt["train"]["total_iter"] = 2
        opt["logger"].update(print_freq=1)
        path.write_text(yaml.safe_dump(opt, sort_keys=False))
    for phase in ("train", "test", "val"):
        for file in sorted(photos.iterdir())[:2]:
            image = bicubic_resize(read_image(file).rgb, (272, 272)).clamp(0, 1)
            write_png(project_copy / "data" / phase / f"{phase}_{file.name}", image)
            write_png(project_copy / "data" / "photos" / phase / f"photo_{phase}_{file.name}", image)
    torch.manual_seed(0)
    torch.save(torchvision.models.squeezenet1_1().state_dict(), tmp_path / "squeeze.pth")
    return Workbench(project_copy, SMALL, project_copy / "data", str(tmp_path / "squeeze.pth"), "cpu")


@pytest.mark.parametrize("name", ["sr4x-small", "decompress-small", "colorize-small"])
def test_a_tower_is_made_measured_and_described(bench, name):
    weights.make_weights(bench, [name])
    assert list(pretrained.towers()) == [name] and name in pretrained.described()
    assert (
        len(list((bench.root / "datasets" / "weights_half").rglob("*.png"))) == 4
    )  # train and test, not what is held out
    content = json.loads((bench.root / "docs" / "models" / f"{name}.json").read_text())
    measures, conditions = content["measures"], content["conditions"]
    assert measures["images"] == 2 and measures["trivial_distance"] > 0
    assert 0 < measures["distance_best"] <= measures["distance"] and measures["diversity"] > 0
    assert conditions["iterations"] == 2 and 0 <= conditions["minutes"] < 5 and "BSDS500" in conditions["terms"]
    page = (bench.root / "docs" / "models" / f"{name}.md").read_text()
    assert ("Colours (CIELAB): chroma" in page) == (name == "colorize-small") == ("colours" in measures)
    assert f"--model {name}" in page and TOWERS[name].trivial in page and "Limits: " in page and "- commit: " in page
    assert (bench.root / "docs" / "models" / f"{name}.jpg").stat().st_size > 5000
    terms = json.loads(model_card.CARDS.read_text())
    assert terms == {name: {"license": "other", **{key: conditions[key] for key in ("terms", "trained_on")}}}
    tower, options, _ = pretrained.load(name)
    assert options["type"] == "TowerGenerator" and not tower.training
    run = next((bench.root / "experiments").glob("weights_*_*/models/net_g_latest.pth"))
    trained, _ = load_network(run, "cpu")
    if name == "sr4x-small":
        assert conditions["temperature"] == TOWERS[name].temperature > 1
        keep_temperature(trained, TOWERS[name].temperature)
    stored = trained.state_dict()
    for key, value in tower.state_dict().items():
        assert torch.equal(value, stored[key].half().float())


def test_a_tower_may_be_trained_by_another_backbone_than_it_is_measured_by(bench, tmp_path, monkeypatch):
    monkeypatch.setitem(TOWERS, "flowers-sr8x", replace(TOWERS["flowers-sr8x"], goes_on_from=""))
    with pytest.raises(
        TimError, match="--name flowers-sr8x: is trained by vgg16: give a state dict of it as --teacher"
    ):
        weights.make_weights(bench, ["flowers-sr8x"])
    blocks = list(torchvision.models.vgg16(weights=None).features.state_dict().items())[:4]  # up to the first map
    torch.save(dict(blocks), tmp_path / "vgg16.pth")
    weights.make_weights(bench, ["flowers-sr8x"], tmp_path / "vgg16.pth")
    content = json.loads((bench.root / "docs" / "models" / "flowers-sr8x.json").read_text())
    assert content["measures"]["images"] == 2 and "squeezenet1_1" in content["conditions"]["distance"]
    assert pretrained.load("flowers-sr8x").network.spec.condition_every_level
    saved = json.loads(next((bench.root / "experiments").glob("weights_flowers*/options.json")).read_text())
    assert saved["train"]["perceptual_opt"]["backbone"] == "vgg16"


def _git(root, *commands):
    git = ["git", "-C", str(root), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in commands:
        subprocess.run([*git, *command], check=True)


def _commit_with(root, name):
    """Make the project's history, whose commit `first` holds a tower."""
    (root / "tim_plugin" / "weights").mkdir(parents=True)
    shutil.copy(pretrained.path_of(name), root / "tim_plugin" / "weights")
    (root / ".gitignore").write_text("experiments\ndatasets\n")
    _git(root, ["init", "-q"], ["add", "."], ["commit", "-q", "-m", "all"], ["tag", "first"])


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_a_tower_may_go_on_from_an_earlier_one_of_the_projects_history(bench, monkeypatch):
    weights.make_weights(bench, ["sr4x-small"])
    root, before = bench.root, pretrained.load("sr4x-small").network.state_dict()
    _commit_with(root, "sr4x-small")
    missing = "--name sr4x-small: goes on from docs/models/sr4x-small.json of commit nowhere, which .* history does not"
    monkeypatch.setitem(TOWERS, "sr4x-small", replace(TOWERS["sr4x-small"], goes_on_from="nowhere"))
    with pytest.raises(TimError, match=missing):
        weights.make_weights(bench, ["sr4x-small"])
    monkeypatch.setitem(TOWERS, "sr4x-small", replace(TOWERS["sr4x-small"], goes_on_from="first", temperature=1.0))
    weights.make_weights(bench, ["sr4x-small"])
    assert len(list((root / "experiments").glob("weights_sr4x_small_*"))) == 2  # the same options, another beginning
    content = json.loads((root / "docs" / "models" / "sr4x-small.json").read_text())
    told = content["conditions"]["goes_on_from"]
    assert told.startswith("`sr4x-small` of commit first, made in 2 iterations and ")
    assert earlier_tower(root, "another", "sr4x-small", "first").told == told  # a tower may go on from another one
    assert f"- goes on from: {told}" in (root / "docs" / "models" / "sr4x-small.md").read_text()
    after = pretrained.load("sr4x-small").network.state_dict()
    step = max(float((after[key] - before[key]).abs().max()) for key in before)
    assert 0 < step < 0.02  # two of Adam's steps of at most 1e-3 from there, and fp16


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_a_tower_that_hands_on_another_share_of_its_features_begins_with_the_same_images(bench):
    weights.make_weights(bench, ["sr4x-small"])
    root, lq = bench.root, torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0))
    _commit_with(root, "sr4x-small")

    def beginning(feature_scale):
        tower = tim.load(earlier_tower(root, "new", "sr4x-small", "first", feature_scale).file, device="cpu")
        return tower.network, tower.sample(lq, 2, seed=0).images

    (was, images), (now, same) = beginning(None), beginning(0.1)
    assert (was.spec.feature_scale, now.spec.feature_scale) == (1.0, 0.1)
    assert (images - same).abs().max() < 1.5 / 255
    scale_features(now, 0.1)
    other = tim.Tower(now).sample(lq, 2, seed=0).images
    assert (images - other).abs().max() > 2.5 / 255  # as it would be without the factor


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_no_card_names_a_commit_that_is_not_what_the_files_are(bench):
    _git(bench.root, ["init", "-q"], ["add", "tools"], ["commit", "-q", "-m", "all"])
    (bench.root / "docs" / "models").mkdir(parents=True)
    assert not clean_machine(bench.root, "cpu")["commit"].endswith("-dirty")
    file = next((bench.root / "tools" / "towers" / "options").iterdir())
    file.write_text(file.read_text() + "# changed\n")
    with pytest.raises(TimError, match="has changes since commit [0-9a-f]{7,}: commit them first"):
        weights.make_weights(bench, ["sr4x-small"])
    assert list((bench.root / "docs" / "models").iterdir()) == [] and not (bench.root / "experiments").exists()


def test_an_unknown_tower_offers_the_nearest(bench):
    with pytest.raises(TimError, match="--name sr16-small: .*sr16x-small"):
        weights.make_weights(bench, ["sr16-small"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--name", "sr16-small", "--data", "."], "--name sr16-small: is not a tower of this package: did you mean"),
        (["--name", "sr16x-small", "--data", ".", "--jobs", "0"], "--jobs 0: must be 1 or more"),
        (["--name", "sr16x-small"], "required: --data"),
    ],
)
def test_the_command_refuses_in_one_line(arguments, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["make_weights.py", *arguments])
    with pytest.raises(SystemExit, match="2"):
        runpy.run_path(str(ROOT / "tools" / "make_weights.py"), run_name="__main__")
    printed = capsys.readouterr().err
    assert message in printed and "Traceback" not in printed


def test_typical_images_are_about_the_median_and_failures_the_worst():
    held = [
        weights.Held(Row(str(index), {"distance": [gain, gain]}), 1.0, weights.SheetRow(None, None, None))
        for index, gain in enumerate([0.9, 0.1, 0.5, 0.6, 2.0, 0.4, 0.7, 1.5, 0.3, 1.1, 0.8, 1.3])
    ]
    found = weights.shown(held)
    assert [one.gain for one in found] == [0.6, 0.7, 0.8, 0.9, 1.1, 1.3, 1.5, 2.0]
    assert [one.shown.label.split(":")[0] for one in found] == ["typical"] * 4 + ["failed"] * 4
    assert len(weights.shown(held[:2])) == 2


def test_the_trivial_image_has_the_size_of_the_ground_truth():
    picture = torch.rand(3, 4, 6)
    assert weights.trivial_image(picture, (4, 6)) is picture
    assert weights.trivial_image(picture, (16, 24)).shape == (3, 16, 24)
