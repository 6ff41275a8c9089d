"""tools/evaluate.py -opt FILE -m CHECKPOINT: the option file's network with the checkpoint's weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from tim_plugin.degradations.base import Observed
from tim_plugin.degradations.bicubic import Bicubic
from tim_plugin.inference.image_samples import sample_image
from tim_plugin.utils.checkpoints import load_network
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.images import read_image

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def evaluate(photos, tiny_tower, tiny_network, tmp_path, monkeypatch, run_tool):
    """Return a function that evaluates a tiny 16x tower with some options overridden and gives what is written."""
    torch.save({"params_ema": tiny_tower().state_dict(), "network_g": tiny_network}, tmp_path / "net.pth")
    dataset = {"name": "mine", "type": "DegradedImageDataset", "task": "sr16x", "dataroot_gt": str(photos)}
    opt = {"name": "t", "model_type": "TIMModel", "scale": 16, "num_gpu": 0, "manual_seed": 0}
    opt |= {"datasets": {"test_1": {**dataset, "max_images": 2}}, "network_g": tiny_network}
    opt |= {"path": {"pretrain_network_g": None}, "val": {"save_img": False, "num_samples": 2}}
    (tmp_path / "t.yml").write_text(yaml.safe_dump(opt))
    monkeypatch.chdir(tmp_path)

    def call(*overrides, metrics="consistency"):
        given = ["-opt", "t.yml", "-m", "net.pth", "-n", "1", "--metrics", metrics, "-o", "f.json"]
        overriding = ["--force_yml", *overrides] if overrides else []
        run_tool(*given, *overriding)
        return json.loads((tmp_path / "f.json").read_text())

    return call


def test_an_override_of_the_network_is_applied_and_printed(evaluate, capsys):
    plain = evaluate()
    assert "forced" not in plain["conditions"]
    projected = evaluate("network_g:consistency=project")
    assert plain["figures"]["lr_psnr"]["worst"] < 40 < projected["figures"]["lr_psnr"]["worst"]
    assert projected["conditions"]["forced"] == "network_g:consistency=project"
    said = capsys.readouterr()
    assert "forced: network_g:consistency=project" in said.out
    assert "note: network_g: consistency is 'project', and net.pth was trained with 'off'" in said.err


def test_a_network_by_which_the_weights_mean_something_else_is_refused(evaluate):
    with pytest.raises(
        TimError, match="image_below is 'signed', and net.pth was trained with 'unit': use the network_g"
    ):
        evaluate("network_g:image_below=signed")
    figures = evaluate("network_g:image_below=signed", "path:strict_load_g=false")["figures"]
    assert figures["lr_psnr"] != evaluate()["figures"]["lr_psnr"]


def test_an_image_that_cannot_be_read_is_left_out_by_name(evaluate, partly_damaged, tmp_path, capsys):
    folder = tmp_path / "some"
    shutil.copytree(partly_damaged, folder)
    overrides = (f"datasets:test_1:dataroot_gt={folder}", "datasets:test_1:max_images=9")
    with pytest.raises(TimError, match=r"^.*b.png: .*; 2 of 4 inputs are left out, and the figures are of the others$"):
        evaluate(*overrides)
    said = capsys.readouterr().err
    assert "skipped: " in said and "b.png" in said and "d.tif" in said
    written = json.loads((tmp_path / "f.json").read_text())
    assert written["conditions"]["inputs"] == 2 and written["conditions"]["left_out"] == "2 of 4 inputs"
    (folder / "d.tif").rename(folder / "0.tif")  # also the first one
    for name in ("a.png", "c.png"):
        (folder / name).write_bytes(b"")
    with pytest.raises(TimError, match="^.*0.tif: holds values that are NaN"):
        evaluate(*overrides)


def test_weights_of_measures_are_looked_for_before_the_network_is(evaluate, run_tool, tmp_path):
    (tmp_path / "net.pth").write_bytes(b"damaged")
    given = ("-opt", "t.yml", "-m", "net.pth", "-n", "1", "-o", "new/f.json", "--metrics")
    for measures, message in (
        ("lpips --lpips-weights x.pth", "weights 'x"),
        ("fid --feature-extractor x.pth", "-extr"),
    ):
        with pytest.raises(TimError, match=message):
            run_tool(*given, *measures.split())
    with pytest.raises(TimError, match="net.pth: cannot be read as a checkpoint"):  # before a wrong network is built
        run_tool(*given, "psnr", "--force_yml", "network_g:trunk_channels=8")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("override", ["network_g:trunk_channels=8", "network_g:num_blocks=2"])
def test_a_network_of_other_shapes_than_the_checkpoint_is_refused(override, evaluate):
    with pytest.raises(TimError, match="net.pth does not fit the network: .*Use the network_g that it was trained"):
        evaluate(override)


def test_the_weights_are_those_that_the_option_file_names(evaluate, tiny_tower, tiny_network, tmp_path):
    other = tiny_tower()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(0.5)
    content = {"params_ema": tiny_tower().state_dict(), "params": other.state_dict(), "network_g": tiny_network}
    torch.save(content, tmp_path / "net.pth")
    ema, params = evaluate(), evaluate("path:param_key_g=params")
    assert evaluate("path:param_key_g=params_ema")["figures"] == ema["figures"] != params["figures"]


def test_the_former_name_of_consistency_works_and_is_said_once(evaluate, capsys):
    now = evaluate()
    assert capsys.readouterr().err.count("note:") == 0
    former = evaluate(metrics="agreement,consistency")
    assert former["figures"] == now["figures"] and "lr_psnr" in now["figures"]
    assert capsys.readouterr().err.count("note: --metrics agreement is called consistency now") == 1


def test_a_network_is_evaluated_without_writing_images(photos, tiny_tower, tmp_path, monkeypatch, run_tool):
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
    run_tool("-opt", tmp_path / "t.yml", "-m", tmp_path / "net.pth", "-n", 2, "--metrics", "psnr,consistency",
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
    common = (
        "-opt",
        tmp_path / "t.yml",
        "-m",
        tmp_path / "net.pth",
        "-n",
        2,
        "--metrics",
        "variation",
    )
    common += ("--lpips-backbone", "tim_small")
    run_tool(*common, "--temperature", "0", "-o", tmp_path / "f.json")
    written = json.loads((tmp_path / "f.json").read_text())
    assert written["figures"]["variation"]["l_std"] == 0 and written["conditions"]["temperature"] == "0"
    with pytest.raises(TimError, match="^--temperature has 2 entries: give one for all, or one for each of 4 levels"):
        run_tool(*common, "--temperature", "1,2", "-o", tmp_path / "f.json")


def test_a_data_set_without_coefficients_has_no_consistency_to_measure(
    photos, tiny_tower, tmp_path, monkeypatch, run_tool
):
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
    with pytest.raises(TimError, match="--metrics consistency: compares samples with their input"):
        run_tool(*common, "--metrics", "consistency")
    run_tool(*common, "--metrics", "psnr")
    assert set(json.loads((tmp_path / "f.json").read_text())["figures"]) == {"psnr"}


def test_a_network_without_parameters_needs_no_checkpoint(photos, run_tool, tmp_path):
    option_file = ROOT / "options" / "baselines" / "test_bicubic_sr16x.yml"
    forced = [f"datasets:test_1:dataroot_gt={photos}", "datasets:test_1:gt_size=32", "num_gpu=0"]
    run_tool(
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
        run_tool(
            "-opt",
            option_file,
            "--metrics",
            "psnr",
            "--force_yml",
            *forced,
            "network_g:type=RepeatedRRDBNet",
        )
