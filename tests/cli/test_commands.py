"""The command lines as a user runs them, and a BasicSR project of one's own with BasicSR's unmodified pipelines."""

from __future__ import annotations

import json
import re
import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from basicsr.utils.matlab_functions import imresize

from support.command_lines import run_program
from tim_plugin.archs.tower_arch import TowerGenerator
from tim_plugin.cli import train as train_command
from tim_plugin.utils.images import write_png

ROOT = Path(__file__).resolve().parents[2]


def run(*command, cwd=ROOT, expect=0):
    """Run a command, check its exit status and that no traceback shows, and return what it printed."""
    done = run_program(*command, cwd=cwd)
    printed = done.stdout + done.stderr
    assert done.returncode == expect, printed[-3000:]
    assert "Traceback" not in printed, printed[-3000:]
    return printed


@pytest.fixture(scope="session")
def pairs(tmp_path_factory, photos):
    """LQ and GT files of one name each."""
    folder = tmp_path_factory.mktemp("pairs")
    (folder / "gt").mkdir()
    (folder / "lq").mkdir()
    for path in photos.iterdir():
        image = cv2.imread(str(path)).astype(np.float32) / 255
        cv2.imwrite(str(folder / "gt" / path.name), image * 255)
        cv2.imwrite(str(folder / "lq" / path.name), imresize(image, 1 / 16).clip(0, 1) * 255)
    return folder


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory, tiny_network):
    """An untrained tiny consistent tower on disk."""
    torch.manual_seed(0)
    network = {**tiny_network, "consistency": "project"}
    tower = TowerGenerator(**{key: value for key, value in network.items() if key != "type"})
    path = tmp_path_factory.mktemp("model") / "net_g_latest.pth"
    torch.save({"params": tower.state_dict(), "network_g": network}, path)
    return path


def guide_block(first_line):
    """The code block of the guide's page on a BasicSR project that begins with this line."""
    page = (ROOT / "docs" / "guide" / "basicsr_project.md").read_text()
    return re.search(rf"```\w+\n({re.escape(first_line)}\n.*?)```", page, re.DOTALL).group(1)


def test_the_guides_project_of_ones_own_with_basicsrs_unmodified_pipelines(tmp_path, pairs, tiny_network):
    """The guide's train.py and options.yml, made small: BasicSR's PairedImageDataset, train and test as they are."""
    program = guide_block("# train.py")
    (tmp_path / "train.py").write_text(program)
    (tmp_path / "test.py").write_text(program.replace("train", "test"))
    opt = yaml.safe_load(guide_block("# options.yml"))
    for dataset in opt["datasets"].values():
        dataset.update(dataroot_gt=str(pairs / "gt"), dataroot_lq=str(pairs / "lq"))
    opt["datasets"]["train"].update(gt_size=32, batch_size_per_gpu=2, num_worker_per_gpu=0, dataset_enlarge_ratio=1)
    opt["network_g"].update(tiny_network)
    opt["imle"].update(samples_per_level=2, pool_size=4, reuse=2)
    opt["train"]["total_iter"] = 6
    opt["train"]["perceptual_opt"] = {"type": "PixelDistanceLoss"}
    opt["val"].update(val_freq=6, num_samples=2)
    opt["logger"].update(print_freq=1, save_checkpoint_freq=3)
    (tmp_path / "options.yml").write_text(yaml.safe_dump(opt, sort_keys=False))

    run("train.py", "-opt", "options.yml", cwd=tmp_path)
    experiment = tmp_path / "experiments" / "my_tim"
    assert {p.name for p in (experiment / "models").iterdir()} == {"net_g_3.pth", "net_g_6.pth", "net_g_latest.pth"}
    assert (experiment / "visualization" / "photo00" / "photo00_6_s01.png").is_file()
    printed = run("train.py", "-opt", "options.yml", "--auto_resume", "--force_yml", "train:total_iter=8", cwd=tmp_path)
    assert "Resuming training from epoch: 1, iter: 6" in printed
    assert "iter:       7" in printed and "iter:       5" not in printed

    opt["datasets"] = {"test_1": opt["datasets"]["val"]}
    opt["path"] = {"pretrain_network_g": str(experiment / "models" / "net_g_latest.pth"), "param_key_g": "params_ema"}
    for section in ("train", "imle", "logger"):
        opt.pop(section)
    (tmp_path / "test.yml").write_text(yaml.safe_dump(opt, sort_keys=False))
    printed = run("test.py", "-opt", "test.yml", cwd=tmp_path)
    assert re.search(r"# psnr: \d+.*\n.*# psnr_best: \d+", printed)
    files = {p.name for p in (tmp_path / "results" / "my_tim" / "visualization" / "held_out").iterdir()}
    assert {"photo00_s00.png", "photo00_s01.png", "photo00_sheet.png"} <= files


def test_train_and_test_tools(tmp_path, option_file):
    path = option_file()
    printed = run("tools/train.py", "-opt", path, "--auto_resume", "--local-rank", "0")
    assert "--auto_resume: nothing to resume below" in printed
    assert printed.count("d_selected") == 6
    experiment = tmp_path / "experiments" / "tiny"
    assert {p.name for p in (experiment / "training_states").iterdir()} == {"3.state", "6.state"}
    printed = run("tools/train.py", "-opt", path, "--auto_resume", "--force_yml", "train:total_iter=7")
    assert "Resuming training" in printed and printed.count("d_selected") == 1

    def tested(opt):
        opt["datasets"] = {"test_1": opt["datasets"]["val"]}
        opt["path"] = {
            "pretrain_network_g": str(experiment / "models" / "net_g_latest.pth"),
            "param_key_g": "params_ema",
            "results_root": str(tmp_path / "results"),
        }
        opt["val"]["num_samples"] = 3
        opt["val"]["metrics"]["lpips"] = {"type": "calculate_lpips", "backbone": "squeezenet1_1", "weights": "random"}
        for section in ("train", "imle", "logger"):
            opt.pop(section)

    printed = run("tools/test.py", "-opt", option_file(tested, "test.yml"))
    values = {name: float(value) for name, value in re.findall(r"# (\w+): ([\d.]+)", printed)}
    assert values["psnr_best"] >= values["psnr"] and "lpips" not in values
    assert values["squeezenet1_1_random_distance_best"] <= values["squeezenet1_1_random_distance"]
    assert f"pictures     {tmp_path / 'results' / 'tiny' / 'visualization'}\n  figures, log " in printed
    assert values["lr_psnr_worst"] >= 45
    folder = tmp_path / "results" / "tiny" / "visualization" / "held_out"
    assert len(list(folder.glob("*_s0?.png"))) == 6 * 3 and len(list(folder.glob("*_sheet.png"))) == 6


def test_a_resumed_tool_run_equals_an_unbroken_one_on_data_with_workers(tmp_path, option_file):
    def longer(opt):
        opt["train"]["total_iter"] = 10
        opt["logger"]["save_checkpoint_freq"] = 4
        opt["datasets"]["train"].update(num_worker_per_gpu=1, dataset_enlarge_ratio=2)
        opt["imle"]["reuse"] = 3
        opt.pop("val")

    path = option_file(longer)
    run("tools/train.py", "-opt", path, "--force_yml", "name=whole")
    run("tools/train.py", "-opt", path, "--force_yml", "name=parts", "train:total_iter=4")
    run("tools/train.py", "-opt", path, "--force_yml", "name=parts", "--auto_resume")
    whole, parts = (
        torch.load(tmp_path / "experiments" / name / "models" / "net_g_latest.pth", weights_only=True)
        for name in ("whole", "parts")
    )
    for key in ("params", "params_ema"):
        for name, value in whole[key].items():
            assert torch.equal(value, parts[key][name]), name


def test_two_processes_on_cpus_train_together(tmp_path, option_file):
    path = option_file(lambda opt: opt.pop("val"))
    run(
        "-m",
        "torch.distributed.run",
        "--nproc_per_node=2",
        "--master_port=0",
        "--standalone",
        "tools/train.py",
        "-opt",
        path,
        "--launcher",
        "pytorch",
    )
    assert (tmp_path / "experiments" / "tiny" / "models" / "net_g_latest.pth").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--force_yml", "imle:reuze=3"], "error: imle: unknown key 'reuze': did you mean 'reuse'?"),
        (
            ["--force_yml", "datasets:train:batch_size_per_gpu=16", "imle:pool_size=16"],
            "do not fill one batch of 16: use dataset_enlarge_ratio",
        ),
        (["--force_yml", "path:resume_state=none.state"], "there is no file none.state"),
    ],
)
def test_mistakes_in_training_are_one_line(option_file, arguments, message):
    printed = run("tools/train.py", "-opt", option_file(lambda opt: opt.pop("val")), *arguments, expect=2)
    assert message in printed
    assert len([line for line in printed.splitlines() if line.startswith("error:")]) == 1


def test_sample_tool_takes_any_image(tmp_path, checkpoint, photos):
    source = tmp_path / "in"
    small = cv2.resize(cv2.imread(str(next(photos.iterdir()))), (7, 5), interpolation=cv2.INTER_AREA)
    source.mkdir()
    cv2.imwrite(str(source / "colour.png"), small)
    cv2.imwrite(str(source / "grey.png"), small[..., 0])
    cv2.imwrite(str(source / "alpha.png"), np.concatenate([small, small[..., :1]], axis=2))
    cv2.imwrite(str(source / "deep.png"), small.astype(np.uint16) * 257)
    cv2.imwrite(str(source / "photo.jpg"), small)
    run("tools/sample.py", "-i", source, "-o", tmp_path / "out", "-m", checkpoint, "-n", 3, "--seed", 5)
    content = json.loads((tmp_path / "out" / "samples.json").read_text())
    assert content["seed"] == 5 and len(content["images"]) == 5
    for image in content["images"]:
        stem = Path(image["input"]).stem
        written = [cv2.imread(str(tmp_path / "out" / one["file"]), cv2.IMREAD_UNCHANGED) for one in image["samples"]]
        assert [one.shape for one in written] == [(80, 112, 4 if stem == "alpha" else 3)] * 3
        assert not np.array_equal(written[0], written[1])
        assert all(one["lr_psnr"] >= 45 for one in image["samples"])
        assert [one["level_seeds"] for one in image["samples"]] == [[j] * 4 for j in range(3)]
        assert (tmp_path / "out" / f"{stem}_sheet.png").is_file()


def test_level_seeds_rebuild_and_mix_samples(tmp_path, checkpoint):
    write_png(tmp_path / "in.png", torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(0)) * 0.4 + 0.3)
    common = ("tools/sample.py", "-i", tmp_path / "in.png", "-m", checkpoint)
    run(*common, "-o", tmp_path / "a", "-n", 3)
    run(*common, "-o", tmp_path / "b", "-n", 5, "--level-seeds", "2,2,2,2", "--batch", 1)
    run(*common, "-o", tmp_path / "c", "-n", 2, "--level-seeds", "2,2,-,-", "--suffix", "x")
    read = [
        cv2.imread(str(tmp_path / name)).astype(int)
        for name in ("a/in_s02.png", "b/in_s00.png", "c/in_x_s00.png", "c/in_x_s01.png")
    ]
    assert sorted(p.name for p in (tmp_path / "b").iterdir()) == ["in_s00.png", "in_sheet.png", "samples.json"]
    assert np.abs(read[0] - read[1]).max() <= 1
    assert not np.array_equal(read[2], read[3])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-i", "nowhere.png"], "nowhere.png: there is no such image or folder"),
        (["-m", "nowhere.pth"], "nowhere.pth: there is no such checkpoint"),
        (["--level-seeds", "1,x"], "'x' is neither a sample's number"),
        (["--level-seeds", "1,1,1,1,1"], "has 5 entries, the network has 4 levels"),
        (["-n", "0"], "-n 0: must be at least 1"),
        (["--device", "cuda:99"], "--device cuda:99"),
        (["--device", "meta"], "--device meta: is not to be had on this machine"),
        (["--device", "hpu"], "--device hpu: is not to be had on this machine"),
        (["--max-megapixels", "0.001"], "4x4, its 16x output 64x64"),
        (["--max-megapixels", "nan"], "--max-megapixels nan: must be above 0"),
        (["--max-megapixels", "-1"], "--max-megapixels -1.0: must be above 0"),
        (["--memory-gib", "inf"], "--memory-gib inf: must be above 0"),
        (["--memory-gib", "nan"], "--memory-gib nan: must be above 0"),
        (["--suffix", "/../../x"], "--suffix /../../x: must not hold / or \\"),
        (["--suffix", "a\\b"], "--suffix a\\b: must not hold / or \\"),
    ],
)
def test_mistakes_in_sampling_are_one_line(tmp_path, checkpoint, monkeypatch, capsys, arguments, message):
    write_png(tmp_path / "in.png", torch.rand(3, 4, 4))
    command = ["sample.py", "-i", tmp_path / "in.png", "-o", tmp_path / "out", "-m", checkpoint, *arguments]
    monkeypatch.setattr(sys, "argv", [str(part) for part in command])
    with pytest.raises(SystemExit) as left:
        runpy.run_path(str(ROOT / "tools" / "sample.py"), run_name="__main__")
    printed = capsys.readouterr().err
    assert left.value.code == 2
    assert message in printed and printed.startswith("error:") and printed.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_what_a_run_did_not_write_is_not_told(tmp_path, capsys):
    """A run that ends before its first training state leaves the folder of them empty."""
    paths = {name: str(tmp_path / name) for name in ("log", "visualization", "models", "training_states")}
    for path in paths.values():
        Path(path).mkdir()
    (tmp_path / "models" / "net_g_latest.pth").touch()
    told_by = {"rank": 0, "is_train": True, "name": "x", "path": paths, "root_path": str(tmp_path), "logger": {}}
    train_command._tell(told_by)
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["Written:", "model", "models"]
