"""Every option file of options/ runs: training for two iterations, validation, save, reload, two samples; tests too."""

from __future__ import annotations

import copy
import logging
from pathlib import Path

import pytest
import torch
import yaml
from basicsr.utils import logger as basicsr_logger

from tim_plugin.archs.tower_arch import TowerGenerator
from tim_plugin.checkpoints import load_network
from tim_plugin.evaluation import answer
from tim_plugin.option_file import read_option_file
from tim_plugin.train_pipeline import test_pipeline as run_test_pipeline
from tim_plugin.train_pipeline import train_pipeline

ROOT = Path(__file__).resolve().parents[1]
OPTION_FILES = sorted((ROOT / "options").rglob("*.yml"))
KEPT = (
    "type",
    "placement",
    "consistency",
    "condition_every_level",
    "mapping",
    "mapping_init",
    "normalise",
    "weight_norm",
)
RANDOM = {"backbone": "squeezenet1_1", "weights": "random", "calibration": "none"}


@pytest.fixture(autouse=True)
def _fresh_logger():
    """BasicSR's logger is global and keeps the first run's file."""
    yield
    basicsr_logger.initialized_logger.clear()
    for handler in list(logging.getLogger("basicsr").handlers):
        logging.getLogger("basicsr").removeHandler(handler)


def plain(value):
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def shrink(opt, photos, network, root):
    """Keep what the file chose; make sizes, data and features tiny."""
    opt = plain(copy.deepcopy(opt))
    kept = {key: opt["network_g"][key] for key in KEPT if key in opt["network_g"]}
    opt["network_g"] = {**network, **kept}
    opt["num_gpu"] = 0
    for phase, dataset in opt["datasets"].items():
        dataset.update(dataroot_gt=str(photos))
        dataset.pop("resize", None)
        dataset.pop("gt_size", None)
        if phase == "train":
            dataset.update(gt_size=32, batch_size_per_gpu=2, num_worker_per_gpu=0, dataset_enlarge_ratio=1)
    for metric in (opt.get("val") or {}).get("metrics", {}).values():
        metric.update(RANDOM if metric["type"] == "calculate_lpips" else {})
    if "train" in opt:
        opt["imle"].update(samples_per_level=2, pool_size=2, search_batch=2, max_candidates_per_batch=4)
        opt["train"].update(total_iter=2)
        if opt["train"]["perceptual_opt"]["type"] == "PerceptualDistanceLoss":
            opt["train"]["perceptual_opt"].update(RANDOM)
        opt.setdefault("val", {"save_img": False}).update(val_freq=2, num_samples=2)
        opt["logger"].update(print_freq=1, save_checkpoint_freq=2, use_tb_logger=False, progress_bar=False)
        opt["path"]["experiments_root"] = str(root / "experiments")
    else:
        opt["val"].update(num_samples=2)
        opt["path"]["results_root"] = str(root / "results")
    return opt


@pytest.mark.parametrize("path", OPTION_FILES, ids=lambda path: path.stem)
def test_option_file_runs(path, tmp_path, photos, tiny_network):
    opt = shrink(read_option_file(path), photos, tiny_network, tmp_path)
    network = {key: value for key, value in opt["network_g"].items() if key != "type"}
    if path.stem.startswith("test_"):
        checkpoint = tmp_path / "net.pth"
        torch.save({"params_ema": TowerGenerator(**network).state_dict()}, checkpoint)
        opt["path"]["pretrain_network_g"] = str(checkpoint)
    (tmp_path / path.name).write_text(yaml.safe_dump(opt, sort_keys=False))
    argv = ["-opt", str(tmp_path / path.name)]
    if path.stem.startswith("test_"):
        run_test_pipeline(str(tmp_path), argv)
        names = {file.name for file in (tmp_path / "results").rglob("*.png")}
        assert {"photo00_s00.png", "photo00_s01.png", "photo00_sheet.png"} <= names
        return
    assert path.stem.startswith(("train_", "demo_")), f"{path}: say here how such an option file is run"
    train_pipeline(str(tmp_path), argv)
    models = tmp_path / "experiments" / opt["name"] / "models"
    assert {file.name for file in models.iterdir()} == {"net_g_2.pth", "net_g_latest.pth"}
    tower, arguments = load_network(models / "net_g_latest.pth")
    assert arguments == opt["network_g"]
    samples = answer(tower, torch.rand(1, 3, 2, 3), 2, seed=0, image_key="x")
    assert samples.shape == (2, 3, 32, 48)
    assert not torch.equal(samples[0], samples[1])
