"""Training and tests by BasicSR's loops: nothing is made, moved or written before all is known to be right."""

from __future__ import annotations

import os
import shutil
import types

import pytest
import torch
import yaml
from basicsr.utils import get_root_logger

from tim_plugin.data.degraded_image_dataset import DegradedImageDataset
from tim_plugin.models import pipeline
from tim_plugin.models.pipeline import test_pipeline as run_test
from tim_plugin.models.pipeline import train_pipeline as run_training
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.folder_lock import locked

TOWER = {"num_levels": 2, "trunk_channels": 4, "growth_channels": 4, "num_blocks": 1, "noise_channels": 2}
TOWER |= {"type": "TowerGenerator", "style_dim": 4, "mapping_width": 8, "mapping_layers": 2}


@pytest.fixture(scope="module")
def option_file(tmp_path_factory, photos):
    """Two iterations of a tiny tower."""
    data = {"type": "DegradedImageDataset", "task": "sr4x", "dataroot_gt": str(photos), "io_backend": {"type": "disk"}}
    loading = {"gt_size": 16, "batch_size_per_gpu": 2, "num_worker_per_gpu": 0}
    opt = {
        "name": "tiny",
        "model_type": "TIMModel",
        "scale": 4,
        "num_gpu": 0,
        "manual_seed": 0,
        "datasets": {"train": {"name": "train", **data, **loading}},
        "network_g": TOWER,
        "imle": {"samples_per_level": 2, "pool_size": 6, "reuse": 3},
        "path": {"pretrain_network_g": None, "resume_state": None},
        "train": {
            "ema_decay": 0.9,
            "total_iter": 2,
            "optim_g": {"type": "Adam", "lr": 1.0e-3},
            "scheduler": {"type": "MultiStepLR", "milestones": [100]},
            "perceptual_opt": {"type": "PixelDistanceLoss"},
        },
        "logger": {"print_freq": 1, "save_checkpoint_freq": 1, "use_tb_logger": False},
    }
    path = tmp_path_factory.mktemp("options") / "tiny.yml"
    path.write_text(yaml.safe_dump(opt, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory, option_file):
    """The folder in which a run has ended, in a program that has logged something before."""
    root = tmp_path_factory.mktemp("finished")
    get_root_logger().info("before")
    run_training(str(root), ["-opt", str(option_file)])
    return root


@pytest.fixture
def root(tmp_path, finished):
    """A copy of it."""
    shutil.copytree(finished, tmp_path / "root")
    return tmp_path / "root"


def contents(folder):
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def train(root, file, *forced, resume=()):
    run_training(str(root), ["-opt", str(file), *resume, *(["--force_yml", *forced] if forced else [])])


def test_the_seed_is_of_order_and_crops_too(tmp_path, option_file, monkeypatch):
    """Else the deviation over seeds leaves out what the data add to it."""
    take = DegradedImageDataset.__getitem__

    def seen(name, *forced):
        found = []

        def noting(dataset, index):
            item = take(dataset, index)
            found.append((index, item["gt"].numpy().tobytes()))
            return item

        monkeypatch.setattr(DegradedImageDataset, "__getitem__", noting)
        train(tmp_path, option_file, f"name={name}", "train:total_iter=1", *forced)
        return found

    first, crops_of_first = seen("first"), seen("crops", "manual_seed=1", "datasets:train:seed=0")
    second = seen("second", "manual_seed=1")
    assert [index for index, _ in first] != [index for index, _ in second] == [index for index, _ in crops_of_first]
    assert not set(first) & set(second) and set(crops_of_first) & set(first)
    assert seen("without", "manual_seed=~") == first


WRONG = {
    "train:scheduler:gama=0.5": (TypeError, TimError),  # found by the scheduler, when the model is built
    "network_g:mapping_init=none": TimError,
    "datasets:train:batch_size_per_gpu=64": TimError,
    "datasets:train:meta_info_file=none.txt": TimError,
    "path:pretrain_network_g=none.pth": TimError,
    "train:perceptual_opt={type: PerceptualDistanceLoss, weights: none.pth}": TimError,
}


@pytest.mark.parametrize("forced", WRONG)
def test_a_mistake_leaves_a_finished_run_where_it_is(root, option_file, forced):
    before = contents(root)
    with pytest.raises(WRONG[forced]):
        train(root, option_file, "imle:pool_size=64", forced)
    assert contents(root) == before


@pytest.mark.parametrize("forced", WRONG)
def test_a_mistake_in_a_first_run_leaves_nothing(tmp_path, option_file, forced):
    with pytest.raises(WRONG[forced]):
        train(tmp_path / "new", option_file, "imle:pool_size=64", forced)
    assert not (tmp_path / "new").exists()


def test_no_name_leads_out_of_a_folder(root, option_file):
    before = contents(root)
    for key in ("name", "datasets:train:name", "val:suffix"):
        for name in (".", "../../x", "/elsewhere/x", "5"):
            with pytest.raises(TimError, match=f"^{key.replace(':', ': ')} .*: (give a name|put it into quotes)"):
                train(root, option_file, "val={val_freq: 9, save_img: true}", f"{key}={name}")
    assert contents(root) == before


@pytest.mark.parametrize("name", ["a b.c", "x" * 180])
def test_any_other_name_is_a_folders(tmp_path, option_file, name):
    train(tmp_path, option_file, f"name='{name}'", "train:total_iter=1", "logger:save_checkpoint_freq=9")
    assert [path.name for path in (tmp_path / "experiments").iterdir()] == [name]


MISSING = {
    "datasets:train:meta_info_file=none.txt": "^datasets: train: meta_info_file: there is no file none.txt; give ",
    "path:pretrain_network_g=none.pth": "^path: pretrain_network_g: there is no file none.pth; give a .pth file",
    "train:perceptual_opt={type: PerceptualDistanceLoss, weights: none.pth}": "^perceptual_opt: weights 'none.pth' is",
    "val={val_freq: 9, num_samples: 2, save_img: false, metrics: {a: {type: calculate_fwv, weights: none.pth}}}": (
        "^calculate_fwv: weights 'none.pth' is neither imagenet"
    ),
}


@pytest.mark.parametrize("forced", MISSING)
def test_files_are_looked_for_before_a_network_is_built(tmp_path, option_file, forced, monkeypatch):
    monkeypatch.setattr("basicsr.train.build_model", lambda opt: pytest.fail("built"))
    with pytest.raises(TimError, match=MISSING[forced]):
        train(tmp_path, option_file, forced)


def test_the_log_is_whole_and_in_order(finished):
    (log,) = (finished / "experiments" / "tiny").glob("train_*.log")
    found = [log.read_text().find(part) for part in ("Version Information", "type: Adam", "Dataset [", "Network: ")]
    assert -1 not in found and found == sorted(found)
    assert "type: MultiStepLR" in log.read_text()  # which the model takes out of the options


def test_the_copy_of_the_options_runs_too(root, option_file):
    folder = root / "experiments" / "tiny"
    copy = folder / "tiny.yml"
    text = copy.read_text()
    assert text.startswith("# GENERATE TIME") and text.endswith(option_file.read_text())
    train(root, copy, "train:total_iter=3", resume=["--auto_resume"])
    assert copy.read_text() == text and (folder / "training_states" / "3.state").is_file()
    train(root, copy)
    assert copy.read_text() == text and not (folder / "training_states" / "3.state").exists()
    (moved,) = root.glob("experiments/tiny_archived_*")
    assert (moved / "training_states" / "3.state").is_file() and (moved / "tiny.yml").read_text() == text


def test_a_second_run_of_one_name_is_refused(root, option_file):
    before = contents(root)
    with locked(root / "experiments" / "tiny", "another", beside=True):
        for resume in ((), ("--auto_resume",)):
            with pytest.raises(TimError, match=f"^name: tiny: .*tiny: is in use by process {os.getpid()} on "):
                train(root, option_file, resume=resume)
    assert contents(root) == before


def test_a_run_holds_its_lock_and_lets_go_of_it(tmp_path, option_file):
    seen = []
    arguments = ["-opt", str(option_file)]
    run_training(str(tmp_path), arguments, lambda *step: seen.append(sorted(tmp_path.glob("experiments/.*"))))
    assert seen == [[tmp_path / "experiments" / ".tiny.lock"]] * 2 and not seen[0][0].exists()


@pytest.fixture
def test_file(tmp_path, finished, option_file):
    """The options of a test of the finished run."""
    opt = yaml.safe_load(option_file.read_text())
    data = {key: value for key, value in opt["datasets"]["train"].items() if not key.endswith(("_gpu", "_size"))}
    opt["datasets"] = {"test_2": {**data, "name": "second"}, "test_1": {**data, "name": "first"}}
    opt["path"] = {"pretrain_network_g": str(finished / "experiments" / "tiny" / "models" / "net_g_latest.pth")}
    opt["val"] = {"save_img": True, "num_samples": 1}
    for section in ("train", "imle", "logger"):
        opt.pop(section)
    path = tmp_path / "test.yml"
    path.write_text(yaml.safe_dump(opt, sort_keys=False))
    return path


def test_a_mistake_in_a_test_leaves_an_earlier_ones_results(tmp_path, test_file):
    root = tmp_path / "root"
    run_test(str(root), ["-opt", str(test_file)])
    names = [path.name for path in (root / "results" / "tiny" / "visualization").iterdir()]
    (log,) = (root / "results" / "tiny").glob("test_*.log")
    order = [log.read_text().find(f"Number of test images in {name}: 6") for name in ("first", "second")]
    assert sorted(names) == ["first", "second"] and -1 < order[0] < order[1] < log.read_text().find("Network: ")
    before = contents(root)
    for forced in ("network_g:trunk_channels=8", "path:pretrain_network_g=none.pth"):
        with pytest.raises(TimError, match="does not fit the network|there is no file none.pth"):
            run_test(str(root), ["-opt", str(test_file), "--force_yml", forced])
    with locked(root / "results" / "tiny", "another", beside=True):
        with pytest.raises(TimError, match="^name: tiny: .*tiny: is in use by process"):
            run_test(str(root), ["-opt", str(test_file)])
    assert contents(root) == before


def test_a_test_leaves_out_an_image_that_cannot_be_read(tmp_path, test_file, partly_damaged):
    forced = [f"datasets:test_{number}:dataroot_gt={partly_damaged}" for number in (1, 2)]
    with pytest.raises(TimError, match=r"b.png: .*; 4 images are left out, see above, and the figures are of the othe"):
        run_test(str(tmp_path / "root"), ["-opt", str(test_file), "--force_yml", *forced])
    results = tmp_path / "root" / "results" / "tiny"
    (log,) = results.glob("test_*.log")
    for name in ("first", "second"):
        assert {path.name[0] for path in (results / "visualization" / name).iterdir()} == {"a", "c"}
        assert f"{name}: 2 of 4 images are left out, and the figures are of the others." in log.read_text()
    assert log.read_text().count("Left out: ") == 4 and str(partly_damaged / "d.tif") in log.read_text()


@pytest.mark.parametrize("prefetch", [None, "cpu"])
def test_a_validation_leaves_out_an_image_that_cannot_be_read(tmp_path, option_file, partly_damaged, prefetch):
    opt = yaml.safe_load(option_file.read_text())
    data = {key: value for key, value in opt["datasets"]["train"].items() if not key.endswith(("_gpu", "_size"))}
    opt["datasets"]["val"] = {**data, "name": "v", "dataroot_gt": str(partly_damaged), "prefetch_mode": prefetch}
    opt["val"] = {"val_freq": 2, "save_img": True, "num_samples": 1, "metrics": {"p": {"type": "calculate_psnr"}}}
    opt["val"]["metrics"]["p"]["crop_border"] = 0
    file = tmp_path / "val.yml"
    file.write_text(yaml.safe_dump(opt))
    train(tmp_path / "root", file)
    run = tmp_path / "root" / "experiments" / "tiny"
    assert {path.name for path in (run / "visualization").iterdir()} == {"a", "c"}
    log = next(run.glob("train_*.log")).read_text()
    assert "v: 2 of 4 images are left out, and the figures are of the others." in log and "# p: " in log
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "e.png").touch()
    with pytest.raises(TimError, match="^.*e.png: is an empty file; of the 1 image.s. of data set v none can be used"):
        train(tmp_path / "root", file, f"datasets:val:dataroot_gt={tmp_path / 'empty'}", "name=other")


STATES = {
    "models/net_g_2.pth": "net_g_2.pth: is a network's file, no training state; give one of training_states, such as 1",
    "a list": "state: holds a list, no training state",
    "no iter": "state: is no training state: it has no iter",
    "text for a number": "state: is no training state: it has no iter",
    "no optimizers": "state: is no training state: it has no optimizers",
}


@pytest.mark.parametrize("kind", STATES)
def test_what_is_no_state_is_named(root, option_file, kind):
    folder = root / "experiments" / "tiny"
    path = folder / kind
    if not path.exists():
        path = folder / "training_states" / "1.state"
        state = torch.load(path, weights_only=True)
        changes = {"a list": [state], "text for a number": {**state, "iter": "1"}}
        left_out = {key: value for key, value in state.items() if key != kind.removeprefix("no ")}
        torch.save(changes.get(kind, left_out), path)
    before = contents(root)
    with pytest.raises(TimError, match=STATES[kind]):
        train(root, option_file, f"path:resume_state={path}")
    assert contents(root) == before


def test_a_state_of_another_run_is_named_with_the_way_out(root, option_file):
    before = contents(root)
    state = root / "experiments" / "tiny" / "training_states" / "2.state"
    with pytest.raises(TimError, match="its network .*/new/models/net_g_2.pth is not there: .* by path: pretrain"):
        train(root, option_file, f"path:resume_state={state}", "name=new")
    assert contents(root) == before


def test_a_state_of_another_optimizer_is_named(root, option_file):
    path = root / "experiments" / "tiny" / "training_states" / "2.state"
    state = torch.load(path, weights_only=True)
    for change in (
        {"optimizers": state["optimizers"] * 2},
        {"optimizers": [{"state": {}, "param_groups": []}]},
        {"optimizers": [{}]},
        {"schedulers": []},
    ):
        torch.save({**state, **change}, path)
        with pytest.raises(TimError, match="2.state: does not fit this run's optimizers or schedulers"):
            train(root, option_file, "train:total_iter=3", f"path:resume_state={path}")


def test_crops_of_another_size_begin_a_new_pool(root, option_file):
    state = root / "experiments" / "tiny" / "training_states" / "2.state"  # one batch is trained on, another waits
    train(root, option_file, "datasets:train:gt_size=32", "train:total_iter=4", f"path:resume_state={state}")
    logs = "".join(path.read_text() for path in state.parents[1].glob("train_*.log"))
    assert "Another gt_size than before: it begins with an empty pool" in logs
    assert (state.parent / "4.state").is_file()


def test_a_model_of_basicsrs_own_keeps_its_log_on_the_console(monkeypatch):
    """It never moves a progress bar, for which the console's lines are left out."""
    monkeypatch.setattr(pipeline, "show_progress", lambda *_: pytest.fail("a bar that stands still"))
    watcher = types.SimpleNamespace(watch=lambda *_: None)
    opt = {"name": "x", "rank": 0, "logger": {"progress_bar": True}, "train": {"total_iter": 10}}
    assert pipeline._build_model(lambda opt: "SRModel", {}, watcher, watcher, None, opt) == "SRModel"
