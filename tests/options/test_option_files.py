"""Every option file of options/ runs: training for two iterations, validation, save, reload, two samples; tests too."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
import yaml
from basicsr.data import build_dataset

from tim_plugin.archs.tower_arch import TowerGenerator
from tim_plugin.data.degraded_image_dataset import DegradedImageDataset
from tim_plugin.data.rarity_scan import compute_rarity
from tim_plugin.degradations.base import Observed
from tim_plugin.degradations.labels import Labels
from tim_plugin.inference.files import sample_files
from tim_plugin.inference.image_samples import sample_image
from tim_plugin.models.pipeline import test_pipeline as run_test_pipeline
from tim_plugin.models.pipeline import train_pipeline
from tim_plugin.options.option_file import read_option_file
from tim_plugin.utils.checkpoints import load_network
from tim_plugin.utils.errors import TimError

ROOT = Path(__file__).resolve().parents[2]
OPTION_FILES = sorted([*(ROOT / "options").rglob("*.yml"), *(ROOT / "tools").glob("*/options/*.yml")])
# Sizes are made tiny; everything else of the network stays as the file has it.
SIZES = ("trunk_channels", "growth_channels", "num_blocks", "noise_channels", "style_dim")
SIZES += ("mapping_width", "mapping_layers")
# The same of the compared systems.
BASELINE_SIZES = {
    "StackedGenerator": {"width": 4},
    "CRNGenerator": {"num_modules": 3, "widths": 4},
    "CRN": {"num_modules": 3, "widths": 4, "num_images": 3},
    "RFBESRGAN": {"num_feat": 16, "num_block": 1, "num_rfb_block": 1, "num_grow_ch": 16},
    "RepeatedRRDBNet": {"num_feat": 4, "num_block": 1, "num_grow_ch": 4},
    "BicubicUpsampler": {},
    "DnCNN": {"num_feat": 4, "num_layers": 4},
    "Zhang2016": {"widths": [4, 4, 8, 8]},
    "Iizuka2016": {"width": 4, "global_px": 32},
    "Larsson2016": {"stage_channels": [2, 2, 4, 4, 4], "fc_channels": 4, "fc_kernel": 3, "hidden": 8},
    "RegressionUNet": {"widths": [4, 8]},
    "RectifiedFlow": {"widths": [4, 8], "steps": 2},
    "ConditionalEDM": {"widths": [4, 8], "steps": 2},
    "RcGAN": {"widths": [4, 8]},
}
ONE_ANSWER = {"RFBESRGAN", "RepeatedRRDBNet", "DnCNN", "Iizuka2016", "Larsson2016", "RegressionUNet"}
MODELS = ("TIMModel", "BaselineModel", "EnergyScoreModel")
RANDOM = {"backbone": "squeezenet1_1", "weights": "random", "calibration": "none"}


def plain(value):
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def shrink_dataset(dataset, photos, label_maps, training):
    if dataset["dataroot_gt"].startswith("sklearn:"):
        dataset.update(dataset_enlarge_ratio=1, batch_size_per_gpu=2, num_worker_per_gpu=0) if training else None
        dataset.update(max_images=4)
        return
    dataset["dataroot_gt"] = str(photos)
    if "dataroot_lq" in dataset:
        dataset["dataroot_lq"] = str(label_maps if dataset.get("task") == "layouts" else photos)
    if isinstance(dataset.get("gt_size"), list):
        dataset["gt_size"] = [32, 64] if dataset["gt_size"][1] == 2 * dataset["gt_size"][0] else [32, 48]
    elif "gt_size" in dataset:
        dataset["gt_size"] = 32
    if training:
        dataset.update(batch_size_per_gpu=2, num_worker_per_gpu=0, dataset_enlarge_ratio=1)


def shrink(opt, photos, label_maps, network, root):
    """Keep what the file chose; make sizes, data and features tiny."""
    opt = plain(copy.deepcopy(opt))
    kind = opt["network_g"]["type"]
    opt["network_g"].update(
        BASELINE_SIZES.get(kind) or {key: network[key] for key in SIZES if kind == "TowerGenerator"}
    )
    if "network_d" in opt:  # the smallest input of the file's own is 128 pixels
        opt["network_d"] = {"type": "UNetDiscriminatorSN", "num_in_ch": 3, "num_feat": 4}
        opt["path"]["pretrain_network_g"] = None
    opt["num_gpu"] = 0
    for phase, dataset in opt["datasets"].items():
        shrink_dataset(dataset, photos, label_maps, phase == "train")
        if "rarity" in dataset:
            labels = Labels(dataset["palette"], dataset["void"])
            dataset["rarity"]["file"] = str(root / "rarity.json")
            compute_rarity(photos, label_maps, labels).save(root / "rarity.json")
    for metric in (opt.get("val") or {}).get("metrics", {}).values():
        metric.update(RANDOM if metric["type"] == "calculate_lpips" else {})
    if "train" in opt:
        if "imle" in opt:
            samples = [2, 2, 1, 1] if opt["imle"].get("sampling") == "chimle" else 2
            opt["imle"].update(samples_per_level=samples, pool_size=2, search_batch=2, max_candidates_per_batch=4)
        opt["train"].update(total_iter=2)
        if opt["train"].get("perceptual_opt", {}).get("type") == "PerceptualDistanceLoss":
            opt["train"]["perceptual_opt"].update(RANDOM)
        opt.setdefault("val", {"save_img": False}).update(val_freq=2, num_samples=2)
        opt["logger"].update(print_freq=1, save_checkpoint_freq=2, use_tb_logger=False, progress_bar=False)
        opt["path"]["experiments_root"] = str(root / "experiments")
    else:
        opt["val"].update(num_samples=2)
        opt["path"]["results_root"] = str(root / "results")
    return opt


def write_checkpoint(opt, network, path):
    """An untrained network's checkpoint as training leaves it, which a test file names."""
    basis_is_stored = isinstance(network.get("degradation"), dict) and "basis" in network["degradation"]
    if basis_is_stored:
        network = {**network, "degradation": {"type": "pca", "basis": "sklearn:digits/train"}}
    tower = TowerGenerator(**network)
    torch.save({"params_ema": tower.state_dict(), "network_g": {**opt["network_g"], **tower.portable()}}, path)
    opt["path"]["pretrain_network_g"] = str(path)
    if basis_is_stored:
        opt["network_g"]["degradation"]["basis"] = opt["datasets"]["test_1"]["basis"] = str(path)


def input_file(dataset, folder):
    """A user's file for this task: what the degradation makes of a GT, or the LQ file that there is."""
    if isinstance(dataset, DegradedImageDataset) and dataset.lq_files is None:
        path = folder / f"mine{dataset.degradation.suffix}"
        path.write_bytes(dataset.degradation.encode(dataset[0]["gt"]))
        return path
    return Path(dataset[0]["lq_path"])


@pytest.mark.parametrize("path", OPTION_FILES, ids=lambda path: path.stem)
def test_option_file_runs(path, tmp_path, photos, label_maps, tiny_network):
    opt = shrink(read_option_file(path), photos, label_maps, tiny_network, tmp_path)
    network = {key: value for key, value in opt["network_g"].items() if key != "type"}
    if path.stem.startswith("test_") and opt["network_g"]["type"] == "TowerGenerator":
        write_checkpoint(opt, network, tmp_path / "net.pth")
    (tmp_path / path.name).write_text(yaml.safe_dump(opt, sort_keys=False))
    argv = ["-opt", str(tmp_path / path.name)]
    if path.stem.startswith("test_"):
        run_test_pipeline(str(tmp_path), argv)
        names = {file.name for file in (tmp_path / "results").rglob("*.png")}
        first = Path(build_dataset({**opt["datasets"]["test_1"], "phase": "test", "scale": opt["scale"]})[0]["lq_path"])
        assert {f"{first.stem}_s00.png", f"{first.stem}_s01.png", f"{first.stem}_sheet.png"} <= names
        return
    assert path.stem.startswith(("train_", "demo_")), f"{path}: say here how such an option file is run"
    train_pipeline(str(tmp_path), argv)
    models = tmp_path / "experiments" / opt["name"] / "models"
    names = {"net_g_2.pth", "net_g_latest.pth"} | ({"net_d_2.pth", "net_d_latest.pth"} if "network_d" in opt else set())
    assert {file.name for file in models.iterdir()} == names
    own = opt["model_type"] in MODELS  # BasicSR's own models do not write the arguments
    tower, arguments = load_network(models / "net_g_latest.pth", options=None if own else opt["network_g"])
    assert {key: value for key, value in arguments.items() if key != "degradation"} == {
        key: value for key, value in opt["network_g"].items() if key != "degradation"
    }
    section = opt["datasets"].get("val", opt["datasets"]["train"])
    dataset = build_dataset({**section, "phase": "val", "scale": opt["scale"]})
    item = torch.utils.data.default_collate([dataset[0]])
    samples = sample_image(tower, Observed(item["lq"], item.get("given", {})), 2, seed=0, image_key="x")
    assert samples.shape == (2, *item["gt"].shape[1:])
    assert torch.equal(samples[0], samples[1]) == (opt["network_g"]["type"] in ONE_ANSWER)
    if opt["network_g"]["type"] != "TowerGenerator":
        return
    (entry,) = sample_files(
        input_file(dataset, tmp_path), tmp_path / "mine", models / "net_g_latest.pth", num_samples=2
    )
    assert [file["file"].rsplit("_", 1)[1] for file in entry["samples"]] == ["s00.png", "s01.png"]
    assert len(list((tmp_path / "mine").glob("*_sheet.png"))) == 1
    if opt["network_g"].get("consistency") == "project":
        assert set(tower.degradation.measured) <= set(entry["samples"][0])


def test_a_wrong_option_leaves_an_earlier_run_where_it_is(tmp_path, photos, label_maps, tiny_network):
    opt = shrink(
        read_option_file(ROOT / "options" / "train_tim_decompression.yml"), photos, label_maps, tiny_network, tmp_path
    )
    earlier = tmp_path / "experiments" / opt["name"]
    earlier.mkdir(parents=True)
    (tmp_path / "x.yml").write_text(yaml.safe_dump(opt, sort_keys=False))
    with pytest.raises(TimError, match="datasets: val: quality 0 must lie within 1 and 100"):
        train_pipeline(str(tmp_path), ["-opt", str(tmp_path / "x.yml"), "--force_yml", "datasets:val:quality=0"])
    assert list((tmp_path / "experiments").iterdir()) == [earlier]


def test_a_checkpoint_of_another_basis_is_refused(tmp_path, photos, label_maps, tiny_network):
    opt = shrink(
        read_option_file(ROOT / "options" / "test_tim_mnist_pca.yml"), photos, label_maps, tiny_network, tmp_path
    )
    network = {key: value for key, value in opt["network_g"].items() if key != "type"}
    write_checkpoint(opt, network, tmp_path / "net.pth")
    opt["network_g"]["degradation"]["basis"] = opt["datasets"]["test_1"]["basis"] = "sklearn:digits/test"
    (tmp_path / "x.yml").write_text(yaml.safe_dump(opt, sort_keys=False))
    with pytest.raises(TimError, match="net.pth: was trained with another PCA basis"):
        run_test_pipeline(str(tmp_path), ["-opt", str(tmp_path / "x.yml")])
