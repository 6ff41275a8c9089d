"""From a file and a command line to options: YAML, overrides, paths, devices."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import pytest
import torch

from tim_plugin.options.checks import check_options
from tim_plugin.options.option_file import parse_options, read_option_file, set_option
from tim_plugin.utils.errors import TimError

ROOT = Path(__file__).resolve().parents[2]


def test_a_bad_file_is_named(tmp_path):
    with pytest.raises(TimError, match="none.yml: cannot be read"):
        read_option_file(tmp_path / "none.yml")
    bad = tmp_path / "bad.yml"
    for text, message in (
        ("a: [1", "not valid YAML in line"),
        ("just text", "holds no options"),
        ("a: 1\na: 2\n", "'a' stands twice"),
        ("a: !!python/object/apply:os.getcwd []", "not valid YAML"),
    ):
        bad.write_text(text)
        with pytest.raises(TimError, match=message):
            read_option_file(bad)


def test_numbers_with_colons_are_text_and_others_stay_numbers(tmp_path):
    path = tmp_path / "a.yml"
    values = {"4:2:0": "4:2:0", "1:30.5": "1:30.5", "-1:00": "-1:00", "12": 12, "1_000": 1000, "0x1f": 31, "017": 15}
    values |= {
        "-1.5": -1.5,
        "1e-4": 1e-4,
        "1.0e+3": 1000.0,
        ".inf": float("inf"),
        "off": False,
        "2001-01-01": "2001-01-01",
    }
    path.write_text("".join(f"k{index}: {text}\n" for index, text in enumerate(values)) + "list: [4:4:4, 4:2:0, 3]\n")
    assert list(read_option_file(path).values()) == [*values.values(), ["4:4:4", "4:2:0", 3]]


def test_force_yml_sets_values_without_evaluating_them(opt):
    for entry, value in (
        ("train:optim_g:lr=1e-3", 1e-3),
        ("imle:samples_per_level=[4, 3, 2, 1]", [4, 3, 2, 1]),
        ("val:save_img=false", False),
        ("path:resume_state=~", None),
        ("name=run 2", "run 2"),
        ("name=4:4:4", "4:4:4"),
        ("name=__import__('os').getcwd()", "__import__('os').getcwd()"),
    ):
        set_option(opt, entry)
        target = opt
        for part in entry.split("=")[0].split(":"):
            target = target[part]
        assert target == value
    with pytest.raises(TimError, match="no section 'trian': did you mean 'train'"):
        set_option(opt, "trian:ema_decay=1")
    with pytest.raises(TimError, match="must be SECTION:KEY=VALUE"):
        set_option(opt, "train:ema_decay")


def test_force_yml_of_bytes_that_are_no_text_is_refused():
    with pytest.raises(TimError, match="--force_yml name=.*is not a YAML value"):
        set_option({"name": "a"}, "name=\udce9")


def test_force_yml_adds_a_section_that_is_valid_and_absent(opt):
    del opt["val"], opt["train"]["scheduler"]
    for entry in (
        "val:metrics:psnr:type=calculate_psnr",
        "val:val_freq=8",
        "train:scheduler:type=MultiStepLR",
        "datasets:val_2:seed=1",
    ):
        set_option(opt, entry)
    assert opt["val"] == {"metrics": {"psnr": {"type": "calculate_psnr"}}, "val_freq": 8}
    assert opt["train"]["scheduler"] == {"type": "MultiStepLR"} and opt["datasets"]["val_2"] == {"seed": 1}
    for entry, message in (
        ("vla:save_img=true", "no section 'vla': did you mean 'val'"),
        ("val:val_freqs:x=1", "no section 'val_freqs': valid: metrics"),
        ("datasets:trian:gt_size=1", "no section 'trian': did you mean 'train'"),
        ("scale:x=1", "no section 'scale'"),
        ("train:optim_g:lr:x=1", "no section 'lr'"),
    ):
        with pytest.raises(TimError, match=message):
            set_option(opt, entry)


def parse(opt_file, root, *arguments, is_train=True):
    return parse_options(str(root), is_train, ["-opt", str(opt_file), *arguments])[0]


@pytest.fixture
def opt_file(tmp_path, photos):
    path = tmp_path / "train.yml"
    text = (ROOT / "options" / "train_tim_sr16x.yml").read_text()
    path.write_text(re.sub(r"dataroot_gt: .*", f"dataroot_gt: {photos}", text))
    return path


def test_an_empty_section_is_missing_and_no_misspelling_of_what_the_parser_adds(opt_file, tmp_path):
    with pytest.raises(TimError, match="^train is missing$"):
        parse(opt_file, tmp_path, "--force_yml", "train=~")


def test_paths_lie_below_the_root_or_experiments_root(opt_file, tmp_path):
    opt = parse(opt_file, tmp_path)
    assert opt["path"]["models"] == str(tmp_path / "experiments" / "TIM_SR16x" / "models")
    assert opt["num_gpu"] == min(torch.cuda.device_count(), 1)
    opt = parse(opt_file, tmp_path, "--force_yml", f"path:experiments_root={tmp_path / 'elsewhere'}")
    assert opt["path"]["training_states"] == str(tmp_path / "elsewhere" / "TIM_SR16x" / "training_states")


def test_debug_and_both_spellings_of_local_rank(opt_file, tmp_path):
    opt = parse(opt_file, tmp_path, "--debug", "--local-rank=0")
    assert opt["name"] == "debug_TIM_SR16x"
    assert (opt["val"]["val_freq"], opt["logger"]["print_freq"]) == (8, 1)
    assert parse(opt_file, tmp_path, "--local_rank", "0")["dist"] is False


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without CUDA")
def test_a_gpu_that_is_not_there_is_an_error(opt_file, tmp_path):
    with pytest.raises(TimError, match="num_gpu: 1, but this machine has 0 CUDA devices"):
        parse(opt_file, tmp_path, "--force_yml", "num_gpu=1")


def test_options_that_were_checked_are_not_checked_again(opt_file, tmp_path):
    opt = parse(opt_file, tmp_path)
    opt["imle"]["reuze"] = 1
    check_options(opt)
    check_options(copy.deepcopy(opt))  # as BasicSR hands them to a model
    with pytest.raises(TimError, match="unknown key 'reuze'"):
        check_options(dict(opt))
