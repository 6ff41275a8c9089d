"""Runs that were killed or that the disk stopped: what was cut off is made up, and what is damaged is passed over."""

from __future__ import annotations

import json
import logging
import re

import pytest
import torch
import yaml

from support.limits import files_of_at_most
from tim_plugin.cli.main import main
from tim_plugin.models import run_logs, sampling_model

VAL = {"val_freq": 2, "save_img": True, "num_samples": 1, "contact_sheet": False}
VAL["metrics"] = {"psnr": {"type": "calculate_psnr", "crop_border": 0}}
SAVED = {"logger": {"use_tb_logger": False, "save_checkpoint_freq": 2}, "val": VAL, "train:total_iter": 3}


class Killed(BaseException):
    """Ends a run wherever it is, and nothing cleans up."""


def left(folder):
    """What a run has left, but for what holds times of day."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".log", ".yml")]
    pictures = {str(path.relative_to(folder)): path.read_bytes() for path in files if path.suffix in (".png", ".json")}
    weights = {path.name: torch.load(path, weights_only=True)["params"] for path in files if path.suffix == ".pth"}
    return pictures, weights


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.fixture
def unbroken(train):
    return left(train("unbroken", **SAVED))


@pytest.mark.parametrize("where", ["in the validation", "after it"])
def test_a_resumed_run_leaves_what_an_unbroken_one_does(train, unbroken, tmp_path, monkeypatch, where):
    saved, step = [], None
    if where == "in the validation":
        save = sampling_model.save_samples

        def killed_at_the_second(*args, **options):
            saved.append(args)
            if len(saved) == 2:
                raise Killed
            return save(*args, **options)

        monkeypatch.setattr(sampling_model, "save_samples", killed_at_the_second)
    else:

        def step(iteration, log):
            if iteration == 3:
                raise Killed

    with pytest.raises(Killed):
        train("broken", on_step=step, **SAVED)
    monkeypatch.undo()
    folder = tmp_path / "experiments" / "broken"
    record = folder / "validation.json"
    assert record.exists() == (where == "after it")
    train("broken", auto_resume=True, **SAVED)
    pictures, weights = left(folder)
    assert pictures == unbroken[0] and any(name.endswith("_2_s00.png") for name in pictures)
    assert all(same(weights[name], value) for name, value in unbroken[1].items())
    said = "".join(path.read_text() for path in sorted(folder.glob("*.log")))
    assert ("at iteration 2: was not finished, and is made up" in said) == (where != "after it")
    best = json.loads(record.read_text())["best"]
    assert all(one["iter"] in (2, 3) for found in best.values() for one in found.values())
    assert said.count("Best: ") >= 2
    assert "@ 3 iter" in said and "@ 4 iter" not in said  # the last validation is of the last iteration
    assert not [name for name in pictures if "_4_s" in name]


def test_a_damaged_record_of_validations_only_costs_one(train, tmp_path):
    train("run", **{**SAVED, "train:total_iter": 2})
    record = tmp_path / "experiments" / "run" / "validation.json"
    record.write_text('{"done": []}')
    train("run", auto_resume=True, **SAVED)
    logs = "".join(path.read_text() for path in record.parent.glob("*.log"))
    assert "validation.json: is damaged (done: is [], not dict)" in logs
    assert "2" in json.loads(record.read_text())["done"]


def test_best_figures_of_a_state_are_those_up_to_it(train, tmp_path):
    """Also where the record is of a later iteration, as after a damaged state."""
    folder = train("run", **{**SAVED, "train:total_iter": 5})
    best = torch.load(folder / "training_states" / "4.state", weights_only=True)["best_metric_results"]
    assert best and all(one["iter"] == 2 for found in best.values() for one in found.values())


def test_a_damaged_newest_state_is_passed_over_aloud(train, unbroken, tmp_path, capsys):
    folder = train("run", **{**SAVED, "logger": {"use_tb_logger": False, "save_checkpoint_freq": 1}})
    newest, before = (folder / "training_states" / f"{number}.state" for number in (3, 2))
    newest.write_bytes(newest.read_bytes()[:1000])
    (folder / "models" / "net_g_latest.pth").unlink()
    capsys.readouterr()
    train("run", auto_resume=True, **SAVED)
    said = capsys.readouterr().err
    assert re.search(f"warning: --auto_resume goes on from {before}, since .*: {newest} cannot be read", said)
    weights = left(folder)[1]
    assert same(weights["net_g_latest.pth"], unbroken[1]["net_g_latest.pth"])
    logs = "".join(path.read_text() for path in folder.glob("*.log"))
    assert f"Newer training states are damaged and passed over: {newest}" in logs


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
def test_a_run_with_other_batches_than_before_goes_on_to_its_last_iteration(train, tmp_path, before, after):
    """Its epochs are counted in their new length, also when it is resumed once more."""
    seen, saved = [], {"logger": {"use_tb_logger": False, "save_checkpoint_freq": 1}, "val": VAL}

    def up_to(total, name, batch, **more):
        return train(name, **saved, **{"datasets:train:batch_size_per_gpu": batch, "train:total_iter": total}, **more)

    for name in ("once", "twice"):
        up_to(4, name, before)
    once = up_to(6, "once", after, auto_resume=True, on_step=lambda iteration, log: seen.append(iteration))
    assert seen == [5, 6]
    up_to(5, "twice", after, auto_resume=True)
    twice = up_to(6, "twice", after, auto_resume=True)
    assert same(*(left(folder)[1]["net_g_6.pth"] for folder in (once, twice)))


def test_a_rate_that_is_changed_after_a_loss_that_is_no_number_is_taken(train, tmp_path):
    train("run", **{**SAVED, "train:total_iter": 2})
    folder = train("run", auto_resume=True, **SAVED, **{"train:optim_g:lr": 1e-6})
    said = "".join(path.read_text() for path in sorted(folder.glob("*.log")))
    assert said.count("used from here on: initial learning rates [1e-06, 1e-08], not [") == 1


@pytest.fixture
def command(tmp_path, photos, tiny_network):
    """Return a function that runs ``tim train`` in this process, up to an iteration; returns the exit status."""
    data = {"type": "DegradedImageDataset", "task": "sr4x", "dataroot_gt": str(photos), "io_backend": {"type": "disk"}}
    opt = {
        "name": "tiny",
        "model_type": "TIMModel",
        "scale": 4,
        "num_gpu": 0,
        "manual_seed": 0,
        "datasets": {
            "train": {"name": "t", **data, "gt_size": 16, "batch_size_per_gpu": 2, "num_worker_per_gpu": 0},
        },
        "network_g": {**tiny_network, "num_levels": 2},
        "imle": {"samples_per_level": 2, "pool_size": 4, "reuse": 2},
        "path": {"pretrain_network_g": None, "resume_state": None},
        "train": {
            "total_iter": 2,
            "optim_g": {"type": "Adam", "lr": 1.0e-3},
            "scheduler": {"type": "MultiStepLR", "milestones": [100]},
            "perceptual_opt": {"type": "PixelDistanceLoss"},
        },
        "logger": {"print_freq": 1, "save_checkpoint_freq": 1, "use_tb_logger": True},
    }
    file = tmp_path / "tiny.yml"
    file.write_text(yaml.safe_dump(opt))

    def run(name, total_iter, *arguments):
        words = ["-opt", str(file), *arguments, "--force_yml", f"name={name}", f"train:total_iter={total_iter}"]
        try:
            main(words, command="train", root=tmp_path)
        except SystemExit as left:
            return left.code
        return 0

    return run


def test_a_full_disk_ends_a_run_in_one_line_and_it_can_be_resumed(command, tmp_path, capsys):
    assert command("unbroken", 2) == 0 and command("full", 1) == 0
    folder = tmp_path / "experiments" / "full"
    before = left(folder)[1]
    capsys.readouterr()
    with files_of_at_most(25_000):
        assert command("full", 2, "--auto_resume") == 1
    said = capsys.readouterr().err
    assert "Traceback" not in said and said.count("error: ") == 1
    file = folder / "models" / "net_g_2.pth"
    assert f"error: {file}: cannot be written or read: File too large: allow larger files (ulimit -f); what was" in said
    assert "saved stays: go on with: " in said and said.rstrip().endswith("--auto_resume")
    after = left(folder)[1]
    assert after.keys() == before.keys() and all(same(after[name], before[name]) for name in before)
    assert not list(folder.rglob("*.tmp")) and not (folder / "training_states" / "2.state").exists()
    options = (folder / "tiny.yml").read_text()
    with files_of_at_most(len(options) - 1):
        assert command("full", 2, "--auto_resume") == 1
    assert "Logging error" not in capsys.readouterr().err and (folder / "tiny.yml").read_text() == options
    with files_of_at_most(len(options) + 500):
        assert command("full", 2, "--auto_resume") == 1
    said = capsys.readouterr().err
    assert "Traceback" not in said and "Logging error" not in said and said.count("error: ") == 1
    assert said.count(".log: cannot be written: File too large; the run goes on") == 1
    assert command("full", 2, "--auto_resume") == 0
    latest = [left(tmp_path / "experiments" / name)[1]["net_g_latest.pth"] for name in ("unbroken", "full")]
    assert same(*latest)


def test_a_folder_that_is_gone_is_named(command, tmp_path, monkeypatch, capsys):
    models = tmp_path / "experiments" / "gone" / "models"
    step = sampling_model.SamplingModel.take_step

    def removed(*args):
        models.rmdir()
        return step(*args)

    monkeypatch.setattr(sampling_model.SamplingModel, "take_step", removed)
    assert command("gone", 1) == 1
    said = capsys.readouterr().err
    assert f"error: {models / 'net_g_1.pth'}: cannot be written or read: No such file or directory" in said
    assert "Traceback" not in said


def test_memory_that_runs_out_in_validation_names_the_options(train, monkeypatch):
    def too_large(*args, **options):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(sampling_model, "evaluate", too_large)
    with pytest.raises(ValueError, match="^data set .*: an image does not fit into memory .*max_samples_per_batch"):
        train("large", **SAVED)


def test_a_log_that_cannot_be_written_is_said_once_and_is_whole_later(tmp_path, capsys):
    logger = logging.Logger("basicsr of this test")
    file = tmp_path / "train.log"
    handler = logging.FileHandler(file)
    handler.handleError = lambda record: run_logs.say_unwritable(handler, record)
    logger.addHandler(handler)
    with files_of_at_most(20):
        for number in range(5):
            logger.info("line %d", number)
    assert capsys.readouterr().err == f"note: {file}: cannot be written: File too large; the run goes on\n"
    logger.info("line 5")
    run_logs.close(handler)
    assert file.read_text().splitlines() == [f"line {number}" for number in range(6)]
    other = logging.FileHandler(tmp_path / "other.log")
    other.handleError = lambda record: None
    with files_of_at_most(1):
        other.emit(logging.makeLogRecord({"msg": "a line"}))
        run_logs.close(other)
    assert "other.log: cannot be written: File too large" in capsys.readouterr().err


def test_a_board_that_cannot_be_written_is_said_once(tmp_path, capsys):
    opt = {"root_path": str(tmp_path), "name": "run"}
    assert run_logs.board(lambda opt: None, opt) is None
    tensorboard = pytest.importorskip("torch.utils.tensorboard")
    folder = tmp_path / "tb_logger" / "run"
    board = run_logs.board(lambda opt: tensorboard.SummaryWriter(str(folder), flush_secs=0), opt)
    hooks = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("threading.excepthook", lambda failed: run_logs.thread_hook(hooks.append, failed))
        with files_of_at_most(200):
            for number in range(20):
                board.add_scalar("loss", 1.0, number)
                board.flush()
            board.close()
    assert capsys.readouterr().err == f"note: {folder}: cannot be written: File too large; the run goes on without it\n"
    assert not hooks
