"""The demos' roads with tiny networks: what is written, what is said, and the figures of the worked example."""

from __future__ import annotations

import json
import runpy
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from demos import consistency_comparison as comparison
from demos import demo_photos as photos
from demos import demo_runs as runs
from demos import digits_demo as digits
from demos import layouts_demo as layouts
from demos import restoration_demo as restoration
from tim_plugin.options.option_file import read_option_file
from tim_plugin.utils.errors import TimError

ROOT = Path(__file__).resolve().parents[3]
SIZES = ("trunk_channels", "growth_channels", "num_blocks", "mapping_width", "mapping_layers")


@pytest.fixture
def tiny_demos(project_copy, tiny_network):
    """The demos' option files with tiny networks and three iterations, below a root of their own."""
    pytest.importorskip("sklearn")
    for path in (project_copy / "tools" / "demos" / "options").iterdir():
        opt = json.loads(json.dumps(read_option_file(path)))
        opt["network_g"].update({key: tiny_network[key] for key in SIZES})
        opt["imle"].update(samples_per_level=2, pool_size=8, reuse=2)
        opt["train"]["total_iter"] = 3
        opt["datasets"]["train"]["gt_size"] = 32
        if "max_images" in opt["datasets"]["val"]:  # of the digits' 256
            opt["datasets"]["val"]["max_images"] = 9
        opt["logger"].update(save_checkpoint_freq=3)
        path.write_text(yaml.safe_dump(opt, sort_keys=False))
    return project_copy


@pytest.fixture
def camvid(tmp_path, request):
    """CamVid's folders, with other photographs and random label maps."""
    parts = {"images": request.getfixturevalue("photos"), "labels": request.getfixturevalue("label_maps")}
    for phase in ("train", "val"):
        for part, folder in parts.items():
            shutil.copytree(folder, tmp_path / "camvid" / phase / part)
    return tmp_path / "camvid"


CONSISTENCY = {
    "sr16x": ("lr_psnr", lambda one: one["worst"] >= 45),
    "sr8x": ("lr_psnr", lambda one: one["worst"] >= 45),
    "sr4x": ("lr_psnr", lambda one: one["worst"] >= 45),
    "colorization": ("l_in_step", lambda one: one["worst"] == 1),
    "decompression": ("dct_agreement", lambda one: one["worst"] >= 0.99),
}


@pytest.mark.parametrize("name", sorted(restoration.DEMOS))
def test_demo_trains_samples_measures_and_says_where_to_look(name, tiny_demos, camvid, capfd):
    measures = restoration.run_demo(name, tiny_demos, camvid if name == layouts.LAYOUTS else None)
    result = tiny_demos / "results" / f"demo_{name}"
    assert json.loads((result / "metrics.json").read_text()) == measures
    assert measures["iterations"] == 3 and measures["parameters"] > 0 and measures["seconds"] > 0
    for key in ("loss", "selected_distance"):
        assert set(measures[key]) == {"start", "end"} and measures[key]["start"] > 0
    assert 0 < measures["best_of_8_distance"] <= measures["mean_distance"]
    assert measures["diversity"] > 0
    assert measures["distance"] == "tim_small feature distance"
    assert (measures["training_seed"], measures["sampling_seed"]) == (0, 0)
    shown = cv2.imread(str(result / "contact_sheet.png"))
    assert shown.shape[1] > 9 * 128 and shown.shape[0] > min(measures["validation_images"], 6) * 96
    printed, bar = capfd.readouterr()
    assert "Look at" in printed and "tools/sample.py" in printed
    assert f"demo_{name}: 3/3" in bar and "selected distance" in bar and "left" in bar
    if name in CONSISTENCY:
        key, holds = CONSISTENCY[name]
        assert key in printed and holds(measures["agreement"][key])
    else:
        assert measures["agreement"] == {} and "the input gives nothing to compare with" in printed


def test_a_picture_is_of_the_packages_tower_and_trains_nothing(tiny_demos, tmp_path, capsys):
    restoration.picture_demo("sr16x", tiny_demos, tmp_path / "new" / "a.jpg")
    shown = cv2.imread(str(tmp_path / "new" / "a.jpg"))
    assert shown.shape[1] > 8 * 128 and shown.shape[0] > 4 * 128
    assert not (tiny_demos / "experiments").exists() and "sr16x-small" in capsys.readouterr().out
    with pytest.raises(TimError, match="--picture: the package holds no tower for generic: see .* --list-models"):
        restoration.picture_demo("generic", tiny_demos, tmp_path / "b.jpg")
    assert not (tmp_path / "b.jpg").exists()


def test_a_picture_replaces_one_of_a_demo_and_no_other_file(tiny_demos, tmp_path):
    file = tmp_path / "a.jpg"
    for content in (b"my notes", cv2.imencode(".jpg", np.zeros((9, 9, 3), np.uint8))[1].tobytes()):
        file.write_bytes(content)
        with pytest.raises(TimError, match="--picture .*a.jpg: is there, and no demo wrote it: give another name"):
            restoration.picture_demo("sr4x", tiny_demos, file)
        assert file.read_bytes() == content
    with pytest.raises(TimError, match="is there, and no demo wrote it"):
        restoration.picture_demo("sr4x", tiny_demos, tmp_path)
    file.unlink()
    for _ in range(2):
        restoration.picture_demo("sr4x", tiny_demos, file)
    assert cv2.imread(str(file)).shape[1] > 8 * 128


def test_without_a_name_the_demos_are_listed(monkeypatch, capsys):
    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["demo.py", *arguments])
        runpy.run_path(str(ROOT / "tools" / "demo.py"), run_name="__main__")

    command()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:-1]] == [*restoration.DEMOS, "mnist_pca"]
    assert all(len(line.split()) > 3 for line in lines) and "tools/demo.py NAME" in lines[-1]
    with pytest.raises(SystemExit, match="2"):
        command("--compare")
    assert "these options need the name of a demo: sr16x, sr8x" in capsys.readouterr().err


def test_demo_photographs_that_are_held_out_are_not_trained_on(tmp_path):
    pytest.importorskip("sklearn")
    photos.write_photos(tmp_path)
    train, held_out = (
        {file.name.rsplit("_", 1)[0] for file in (tmp_path / phase).iterdir()} for phase in ("train", "val")
    )
    assert held_out == set(photos.HELD_OUT) and not train & held_out and len(train) >= 4


def test_noisy_photographs_are_the_same_each_time_and_blurred(tmp_path):
    pytest.importorskip("sklearn")
    photos.write_photos(tmp_path / "gt")
    for name in ("a", "b"):
        photos.write_noisy(tmp_path / "gt", tmp_path / name)
    files = sorted(path.relative_to(tmp_path / "gt") for path in (tmp_path / "gt").glob("*/*.png"))
    for file in files:
        gt, first, second = (cv2.imread(str(tmp_path / name / file)).astype(float) for name in ("gt", "a", "b"))
        assert gt.shape == first.shape and np.array_equal(first, second)
        assert 255 * photos.NOISE_STD * 0.8 < (first - gt).std() < 60
    assert len(files) >= 10


def test_layouts_without_data_say_which_folder_is_missing(tiny_demos, tmp_path):
    with pytest.raises(TimError, match="camvid/train/images: there is no such folder: .* with --data"):
        restoration.run_demo(layouts.LAYOUTS, tiny_demos)
    with pytest.raises(TimError, match="elsewhere/train/images: there is no such folder"):
        restoration.run_demo(layouts.LAYOUTS, tiny_demos, tmp_path / "elsewhere")


def test_a_task_without_projection_is_not_compared(tiny_demos):
    with pytest.raises(TimError, match="there is nothing to project for degradation 'unknown'"):
        restoration.compare_demo("generic", tiny_demos)
    assert not (tiny_demos / "experiments").exists()


def test_digits_demo_writes_figure_1_and_its_numbers(tiny_demos, monkeypatch, capfd):
    monkeypatch.setattr(digits, "MEASURED_DIGITS", 2)
    monkeypatch.setattr(digits, "PREDICTIONS", 20)
    measures = digits.run_digits_demo(tiny_demos)
    result = tiny_demos / "results" / "demo_mnist_pca"
    assert json.loads((result / "metrics.json").read_text()) == measures
    figure = measures["figure_1b"]
    assert figure["relative_error_of_first_ten"]["worst"] < 0.01
    for key in ("density_quantile_of_real_point", "density_quantile_of_neighbours"):
        assert 0 <= figure[key]["lowest"] <= figure[key]["mean"] <= 1
    assert figure["diversity_rms_pixels"] > 0 and figure["real_points_in_densest_90_percent"] in (0, 0.5, 1)
    assert [len(one["neighbours"]) for one in figure["shown_digits"]] == [10, 10]
    sheet, plane = (cv2.imread(str(result / name)) for name in ("figure_1a.png", "figure_1b.png"))
    assert sheet.shape[0] > digits.SHOWN_DIGITS * 128 and sheet.std() > 20
    assert min(plane.shape[:2]) > 300 and plane.std() > 10
    assert "figure_1a.png" in capfd.readouterr().out


def test_density_quantiles_are_those_of_a_known_distribution():
    generator = np.random.default_rng(0)
    predictions = generator.standard_normal((2000, 2))
    far, edge = np.full((1, 2), 9.0), np.array([[1.1774, 0.0]])  # half of the predictions lie within 1.1774
    real, (at_edge, outside) = digits.Plane(predictions, np.zeros(2), np.vstack([edge, far])).quantiles()
    assert real > 0.95 and abs(at_edge - 0.5) < 0.06 and outside == 0
    assert digits.Plane(np.ones((50, 2)), np.ones(2), np.zeros((10, 2))).quantiles() == (0.0, [0.0] * 10)


def test_a_real_point_drawn_like_the_predictions_lies_at_any_quantile_alike():
    """A prediction's own kernel does not count, or the densest 90 % would hold fewer of such points."""
    generator = np.random.default_rng(0)
    found = []
    for _ in range(400):
        *predictions, real = generator.standard_normal((61, 2))
        found.append(digits.Plane(np.array(predictions), real, np.zeros((1, 2))).quantiles()[0])
    assert abs(np.median(found) - 0.5) < 0.06
    assert abs(np.mean(np.array(found) >= 1 - digits.DENSEST) - digits.DENSEST) < 0.03


def test_comparison_trains_twice_and_measures_three_ways(tiny_demos, capfd):
    table = restoration.compare_demo("colorization", tiny_demos)
    assert json.loads((tiny_demos / "results" / "demo_colorization" / "consistency.json").read_text()) == table
    assert list(table) == ["off", "at the end only", "trained through"]
    within = {way: row["agreement"]["l_in_step"]["worst"] for way, row in table.items()}
    assert within["off"] < 1 and within["at the end only"] == within["trained through"] == 1
    printed = capfd.readouterr().out
    assert "| trained through |" in printed and "l_in_step" in printed
    assert (tiny_demos / "experiments" / "compare_colorization_off" / "models" / "net_g_latest.pth").is_file()


def test_consistency_is_shown_with_its_worst_sample():
    row = {"agreement": {"lr_psnr": {"mean": 50.123, "worst": 45.5, "unit": "dB"}}}
    assert comparison.consistency_text(row) == "lr_psnr 50.12 (45.5)"


def test_history_averages_both_ends():
    assert runs.History.ends([4.0] * 10 + [1.0] * 30) == {"start": 4.0, "end": 1.0}


def test_a_missing_photograph_names_its_package(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(TimError, match="package 'skimage' is not installed"):
        photos.write_photos(tmp_path)


def test_a_missing_idx_file_is_named(tiny_demos, tmp_path):
    with pytest.raises(TimError, match="train-images-idx3-ubyte.gz: there is no such file"):
        digits.run_digits_demo(tiny_demos, tmp_path)
