"""Training and testing by one call: option files by name, and options overridden by key or by section."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import tim_plugin as tim
from tim_plugin.options.option_file import read_with_overrides
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.task_options import find_option_file


@pytest.fixture
def overrides(photos, tiny_network):
    """What makes the package's option files tiny."""
    small = {key: value for key, value in tiny_network.items() if key != "num_levels"}
    return {"num_gpu": 0, "network_g": {**small, "num_levels": 2}}


def test_train_then_load_then_test(tmp_path, photos, overrides):
    seen = []
    folder = tim.train(
        "sr4x",
        {
            **overrides,
            "datasets": {
                "train": {"dataroot_gt": photos, "gt_size": 32, "batch_size_per_gpu": 2, "num_worker_per_gpu": 0},
                "val:dataroot_gt": photos,
                "val:gt_size": None,
            },
            "train": {"total_iter": 2, "perceptual_opt": {"type": "PixelDistanceLoss"}},
            "imle": {"pool_size": 2, "reuse": 1, "samples_per_level": 2},
            "val": {"val_freq": 100, "num_samples": 1, "metrics": None},
            "logger:use_tb_logger": False,
        },
        root=tmp_path,
        on_step=lambda iteration, log: seen.append(iteration),
    )
    assert seen == [1, 2] and folder.parent == tmp_path / "experiments"
    checkpoint = folder / "models" / "net_g_latest.pth"
    tower = tim.load(checkpoint, device="cpu")
    assert (tower.task, tower.num_levels) == ("sr4x", 2)
    assert tower.sample(torch.rand(3, 8, 8), n=2).images.shape == (2, 3, 32, 32)

    results = tim.test(
        "sr4x",
        {
            **overrides,
            "datasets": {"test_1": {"dataroot_gt": photos, "gt_size": None}},
            "path:pretrain_network_g": checkpoint,
            "val": {"num_samples": 2, "metrics": None},
        },
        root=tmp_path,
    )
    assert results.parent == tmp_path / "results"
    assert len(list((results / "visualization").rglob("*_s01.png"))) == len(list(photos.iterdir()))


def test_options_are_whole_numbers_of_any_type():
    overrides = {"train:total_iter": np.int64(5), "manual_seed": torch.tensor(3), "imle": {"reuse": np.array(2)}}
    opt, argv = read_with_overrides(find_option_file("sr4x", "train"), overrides)
    assert (opt["train"]["total_iter"], opt["manual_seed"], opt["imle"]["reuse"]) == (5, 3, 2)
    assert "train:total_iter=5" in argv
    with pytest.raises(TimError, match="^manual_seed is or holds a object: give what YAML holds"):
        tim.train("sr4x", {"manual_seed": object()})


def test_options_may_hold_paths_and_any_letters(tmp_path):
    overrides = {"name": "\U0001f600 \u2028\xe9", "path": {"ignore": [tmp_path, (Path("a"), 1)], "root": Path("b")}}
    opt, _ = read_with_overrides(find_option_file("sr4x", "train"), overrides)
    assert (opt["name"], opt["path"]) == (overrides["name"], {"ignore": [str(tmp_path), ["a", 1]], "root": "b"})


@pytest.mark.parametrize("call", [tim.train, tim.test])
@pytest.mark.parametrize(
    ("options", "more", "message"),
    [
        (None, {}, "^options is of type NoneType: give the path of an option file, or one of the names of tim options"),
        ({"name": "x"}, {}, "^options is of type dict: give the path of an option file"),
        ("", {}, "^options is an empty text: give the path"),
        ("~nobody_of_that_name/a.yml", {}, "a.yml: cannot be read"),
        ("sr4x", {"root": 3}, "^root is of type int: give the folder for results"),
        ("sr4x", {"root": ""}, "^root is an empty text"),
        ("sr4x", {"overrides": ["num_gpu=0"]}, r"^overrides is a list: give a mapping such as .*total_iter"),
        ("sr4x", {"overrides": "num_gpu=0"}, r"^overrides is a str: give a mapping"),
        ("sr4x", {"overrides": {1: 2}}, "^overrides: key 1 must be a text without '=': SECTION:KEY"),
        ("sr4x", {"overrides": {"num_gpu=0": 2}}, "^overrides: key 'num_gpu=0' must be a text without '='"),
        ("sr4x", {"overrides": {"val": {2: 2}}}, "^overrides: val: key 2 must be a text"),
        (
            "sr4x",
            {"overrides": {"val:metrics": [{"a": {(): 2}}]}},
            r"^overrides: val:metrics: a: key \(\) must be a text",
        ),
        (
            "sr4x",
            {"overrides": {"datasets:val:seed": {1}}},
            "^datasets:val:seed is or holds a set: give what YAML holds",
        ),
        ("sr4x", {"overrides": {"num_gpu": float("nan")}}, "^num_gpu holds a number that is not finite"),
        ("sr4x", {"overrides": {"num_gpu": np.float32("inf")}}, "^num_gpu holds a number that is not finite"),
    ],
)
def test_arguments_of_another_kind_are_named(tmp_path, monkeypatch, call, options, more, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TimError, match=message):
        call(options, **more)
    assert list(tmp_path.iterdir()) == []


def test_an_observer_that_cannot_be_called_is_named_before_anything_is_read(tmp_path):
    with pytest.raises(TimError, match="^on_step is of type int: give a function of the iteration's number and"):
        tim.train("none.yml", root=tmp_path, on_step=3)


def test_mistakes_are_one_sentence(tmp_path):
    for arguments, message in (
        (("sr4y",), "^sr4y: is neither an option file nor one of the package for phase 'train': did you mean 'sr4x'"),
        ((tmp_path / "none.yml",), "none.yml: cannot be read"),
        (("sr4x", {"imle": {"reuze": 3}}), "imle: unknown key 'reuze': did you mean 'reuse'"),
        (("sr4x", {"imel:reuse": 3}), "no section 'imel'"),
    ):
        with pytest.raises(TimError, match=message):
            tim.train(*arguments, root=tmp_path)
    assert list(tmp_path.iterdir()) == []
