"""The command ``tim``: quick where it only says something, the same code as ``tools/*.py``, and quiet if told so."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from support.command_lines import run_program
from tim_plugin import __version__
from tim_plugin.cli.main import COMMANDS, main
from tim_plugin.cli.train import add_test_arguments, add_train_arguments
from tim_plugin.options.option_file import parse_options
from tim_plugin.utils import task_options, weight_headers
from tim_plugin.utils.bundled import read_bundled
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.images import write_png

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "numpy", "basicsr", "cv2", "yaml")


@pytest.fixture
def images(tmp_path):
    for name in ("a", "b", "c"):
        write_png(tmp_path / f"{name}.png", torch.rand(3, 4, 4))
    return tmp_path


def left_with(arguments, **options):
    """Run the command in this process and return its exit status."""
    try:
        main([str(argument) for argument in arguments], **options)
    except SystemExit as left:
        return left.code
    return 0


def test_sampling_loads_neither_basicsr_nor_torchvision(images):
    """Their import takes as long as torch's own."""
    code = """
import sys
from tim_plugin.cli.main import main
main(["sample", "-m", "sr4x-small", "-i", "a.png", "-o", "out", "-n", "2", "--quiet"])
assert not {"basicsr", "torchvision", "scipy", "torch.distributed.fsdp", "torch._dynamo"} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=images, timeout=120)
    assert done.returncode == 0, done.stderr
    assert (images / "out" / "samples.json").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["models"],
        ["options", "sr16x"],
        *([command, "--help"] for command in COMMANDS),
    ],
)
def test_what_only_says_something_loads_nothing_heavy(arguments):
    code = f"""
import sys
from tim_plugin.cli.main import main
try:
    main({arguments!r})
except SystemExit as left:
    assert not left.code
assert not set({HEAVY!r}) & set(sys.modules), sys.modules.keys() & set({HEAVY!r})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_help_names_every_command_and_the_exit_codes(capsys):
    assert left_with(["--help"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert all(command.sentence in printed for command in COMMANDS.values()) and "exit codes: 0 done; 1" in printed
    assert left_with(["--version"]) == 0
    assert left_with(["sample", "--version"]) == 0
    assert capsys.readouterr().out == f"tim_plugin {__version__}\n" * 2


def test_models_are_read_from_headers_as_they_are_from_weights(capsys):
    assert left_with(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    towers = weight_headers.list_towers()
    assert [line.split()[0] for line in lines] == list(towers) and "tim_small" not in towers
    weights = read_bundled("sr4x-small")
    facts = towers["sr4x-small"]
    assert facts.num_parameters == sum(one.numel() for one in weights.state.values())
    assert (facts.arguments, facts.what) == (weights.arguments, weights.about["what"])
    (line,) = (line for line in lines if line.startswith("sr4x-small"))
    assert f"{facts.num_parameters / 1e6:.2f} M parameters  {facts.what}" in line


def test_a_damaged_file_of_weights_is_named(tmp_path):
    shutil.copytree(weight_headers.FOLDER, tmp_path / "weights")
    (tmp_path / "weights" / "sr4x-small.safetensors").write_bytes(b"half")
    with pytest.raises(TimError, match="sr4x-small.safetensors: is no safetensors file, or damaged"):
        weight_headers.list_towers(tmp_path / "weights")


def test_option_files_are_printed_by_name(capsys):
    assert left_with(["options"]) == 0
    assert {"sr16x", "colorization", "cimle_sr16x"} <= set(capsys.readouterr().out.split())
    assert left_with(["options", "sr16x"]) == 0
    assert yaml.safe_load(capsys.readouterr().out) == yaml.safe_load(
        (ROOT / "options" / "train_tim_sr16x.yml").read_text()
    )
    assert left_with(["options", "sr16x", "--test"]) == 0
    assert yaml.safe_load(capsys.readouterr().out) == yaml.safe_load(
        (ROOT / "options" / "test_tim_sr16x.yml").read_text()
    )
    assert left_with(["options", "sr16"]) == 2
    assert capsys.readouterr().err.startswith("error: sr16: is neither an option file nor one of the package")


def test_each_option_file_has_a_name_of_its_own():
    files = sorted((ROOT / "options").rglob("*.yml"))
    named = [*task_options.option_files("train").values(), *task_options.option_files("test").values()]
    assert sorted(named) == files
    assert task_options.find_option_file("mine.yml") == Path("mine.yml")
    assert task_options.find_option_file("folder/mine") == Path("folder/mine")


def test_several_inputs_are_sampled_and_what_cannot_be_is_left_out_with_status_2(images, capsys):
    inputs = [images / "a.png", images / "b.png"]
    common = ["sample", "-m", "sr4x-small", "-n", 1, "--device", "cpu", "--no-contact-sheet"]
    assert left_with([*common, "-i", *inputs, "-o", images / "out"]) == 0
    assert "2 image(s), 1 sample(s) each" in capsys.readouterr().out
    (images / "broken.png").write_bytes(b"no image")
    assert left_with([*common, "-i", *inputs, "-i", images / "broken.png", "-o", images / "more"]) == 2
    printed = capsys.readouterr().err
    assert "skipped: " in printed and "error: " in printed and "1 of 3 images could not be sampled" in printed
    assert len(json.loads((images / "more" / "samples.json").read_text())["images"]) == 2


def test_quiet_prints_nothing_but_mistakes(images, capsys):
    common = ["sample", "--quiet", "-m", "sr4x-small", "-n", 1, "--device", "cpu", "-o", images / "out"]
    assert left_with([*common, "-i", images / "a.png", images / "b.png"]) == 0
    assert tuple(capsys.readouterr()) == ("", "")
    assert (images / "out" / "b_s00.png").is_file()
    assert left_with([*common, "-i", images / "none.png"]) == 2
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize("at", [1, 2, 6])
def test_prepare_is_quiet_wherever_that_is_said(tmp_path, photos, capsys, at):
    arguments = ["prepare", "sr4x", "-i", photos, "-o", tmp_path / "out", "--size", 16, "--workers", 1]
    assert left_with([*arguments[:at], "--quiet", *arguments[at:]]) == 0
    assert capsys.readouterr().out == "" and (tmp_path / "out" / "gt").is_dir()


def test_a_file_in_the_place_of_the_folder_of_samples_is_said_to_be_one(images, capsys):
    arguments = ["sample", "-i", images / "a.png", "-m", "sr4x-small", "-n", 1, "-o", images / "b.png"]
    assert left_with(arguments) == 2
    assert capsys.readouterr().err == f"error: -o {images / 'b.png'}: is a file; give a folder\n"


def test_latents_of_levels_may_begin_with_a_dash(images, capsys):
    arguments = ["sample", "-m", "sr4x-small", "-n", 2, "--device", "cpu", "-o", images / "out", "-i", images / "a.png"]
    assert left_with([*arguments, "--level-seeds", "-,1"]) == 0
    (entry,) = json.loads((images / "out" / "samples.json").read_text())["images"]
    assert [one["level_seeds"] for one in entry["samples"]] == [[0, 1], [1, 1]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["smaple"], "invalid choice: 'smaple'"),
        (["sample", "-i", "a.png"], "arguments are required: -m/--model (--list-models prints the"),
        (["sample"], "required: -i/--input, -m/--model (--list-models prints the towers for -m)"),
        (["sample", "-m", "sr4x-small"], "the following arguments are required: -i/--input"),
        (["train"], "give one option file"),
        (["train", "sr16x", "-opt", "my.yml"], "give one option file"),
        (["train", "sr16"], "error: sr16: is neither an option file nor one of the package for phase 'train'"),
        (["train", "sr16x", "--force_yml", "imle:reuze=3"], "error: imle: unknown key 'reuze': did you mean 'reuse'?"),
        (["test", "none.yml"], "error: -opt none.yml: cannot be read"),
        (["sample", "-i", "", "-m", "sr4x-small"], "argument -i/--input: is empty; give the file or folder"),
        (["sample", "-i", "a.png", "-m", "sr4x-small", "-o", ""], "argument -o/--output: is empty; give"),
        (["prepare", "sr4x", "-i", "", "-o", "out"], "argument -i/--input: is empty; give the file or folder"),
        (["prepare", "mnist_pca", "-i", " ", "-o", "out"], "argument -i/--input: is empty; give the file or folder"),
        (["evaluate", "--pred", "", "--gt", "gt"], "argument --pred: is empty; give the file or folder"),
    ],
)
def test_mistakes_leave_with_status_2(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert left_with(arguments) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("command", "add"), [("train", add_train_arguments), ("test", add_test_arguments)])
def test_the_commands_that_help_prints_get_along_with_folders_of_their_names(
    tmp_path, monkeypatch, photos, command, add
):
    parser = argparse.ArgumentParser()
    add(parser)
    first = next(line for line in parser.description.splitlines() if line.startswith(f"tim {command} "))
    monkeypatch.chdir(tmp_path)
    for name in ("PHOTOS", "PHOTOS_VAL"):
        (tmp_path / name).symlink_to(photos)
    _, _, name, *forced = first.split()
    argv = ["-opt", str(task_options.find_option_file(name, command)), *forced]
    opt, _ = parse_options(str(tmp_path), command == "train", argv)
    assert opt["name"]


def test_training_writes_below_the_current_folder(tmp_path, monkeypatch, photos, tiny_network, capsys):
    monkeypatch.chdir(tmp_path)
    small = [f"network_g:{key}={value}" for key, value in tiny_network.items() if key not in ("type", "num_levels")] + [
        "datasets:train:gt_size=16",
        "datasets:train:num_worker_per_gpu=0",
        f"datasets:train:dataroot_gt={photos}",
    ]
    small += [f"datasets:val:dataroot_gt={photos}", "datasets:val:gt_size=~", "val:num_samples=1", "val:metrics=~"]
    small += ["num_gpu=0", "imle:pool_size=1", "imle:reuse=1", "imle:samples_per_level=1"]
    small += ["train:total_iter=1", "train:perceptual_opt={type: PixelDistanceLoss}", "logger:use_tb_logger=false"]
    assert left_with(["train", "sr4x", "--quiet", "--force_yml", *small]) == 0
    assert tuple(capsys.readouterr()) == ("", "")
    (folder,) = (tmp_path / "experiments").iterdir()
    assert (folder / "models" / "net_g_latest.pth").is_file()
    assert "# lr_psnr" in next(folder.glob("train_*.log")).read_text()


@pytest.mark.parametrize("has_schema", [True, False])
def test_a_printed_option_file_names_what_is_there_wherever_it_is_put(capsys, monkeypatch, tmp_path, has_schema):
    if not has_schema:  # as in a wheel
        shutil.copytree(ROOT / "options", tmp_path / "tasks")
        monkeypatch.setattr(task_options, "IN_WHEEL", tmp_path / "tasks")
    assert left_with(["options", "layout_camvid"]) == 0
    lines = capsys.readouterr().out.splitlines()
    schema = [line.partition("$schema=")[2] for line in lines if "$schema" in line]
    assert schema == ([str(ROOT / "docs" / "options.schema.json")] if has_schema else [])
    assert "#   tim train THIS_FILE" in lines and not any("python tools" in line for line in lines)
    assert any(line.startswith("#   tim prepare layouts -i ") for line in lines)


def test_prepare_says_what_each_degradation_says_of_its_options(capsys):
    for task, said in (
        ("decompression", ["--quality N or LOW,HIGH", "the two ends of a range", "(default: 4:2:0)"]),
        ("layouts", ["--palette PALETTE", "(default: gta)", "--void-index"]),
        ("mnist_pca", ["--basis BASIS", "(default: 10)"]),
        ("sr8x", ["--crop {center,whole}"]),
    ):
        assert left_with(["prepare", task, "--help"]) == 0
        printed = " ".join(capsys.readouterr().out.split())
        assert all(words in printed for words in said), printed


def test_prepare_and_evaluate_are_the_tools(tmp_path, photos, capsys):
    assert left_with(["prepare", "sr4x", "-i", photos, "-o", tmp_path / "data", "--size", 32, "--workers", 1]) == 0
    gts = tmp_path / "data" / "gt"
    assert len(list(gts.iterdir())) == 6 and "6 pairs made" in capsys.readouterr().out
    figures = tmp_path / "figures.json"
    arguments = ["evaluate", "--pred", gts, "--gt", gts, "--pattern", "{name}", "--metrics", "psnr", "-o", figures]
    assert left_with([*arguments, "--quiet"]) == 0
    assert capsys.readouterr().out == "" and json.loads(figures.read_text())["figures"]["psnr"]["mean"] > 50


@pytest.mark.parametrize(
    ("tool", "command"), [("sample", "sample"), ("train", "train"), ("test", "test"), ("evaluate", "evaluate")]
)
def test_tools_are_the_commands_by_another_name(tool, command):
    done = run_program(ROOT / "tools" / f"{tool}.py", "--help")
    ours = run_program("-m", "tim_plugin", command, "--help")
    options = [{word for word in printed.stdout.split() if word.startswith("-")} for printed in (done, ours)]
    assert options[0] == options[1] and len(options[0]) > 3
