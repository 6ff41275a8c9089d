"""Tables 2 to 5 and the sheets, from photographs to pages, with tiny networks: trained once, by two processes."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import torchvision
import yaml

from paper import ablation, step_time
from paper import parallel_runs as training
from paper import system_tables as comparison
from paper.halved_photographs import tiles
from paper.pages import spread, table, with_other_tasks, write_target
from paper.presets import ABLATIONS, PAPER, PRESETS, SMALL
from paper.sample_figures import reproduce_samples
from paper.step_time import logged_step_seconds
from paper.targets import reproduce
from paper.workbench import Workbench
from tim_plugin.options.checks import check_by_model
from tim_plugin.options.degradation_checks import check_degradations
from tim_plugin.options.files import read_option_file, read_with_overrides
from tim_plugin.utils.checkpoints import network_of
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.images import list_images, read_image, write_png
from tim_plugin.utils.resize import bicubic_resize

ROOT = Path(__file__).resolve().parents[3]
TINY_SYSTEMS = {
    "train_cimle_sr16x.yml": {"width": 4},
    "train_rfb_esrgan_sr16x.yml": {"num_feat": 16, "num_block": 1, "num_rfb_block": 1, "num_grow_ch": 16},
    "train_esrgan_sr16x.yml": {"num_feat": 4, "num_block": 1, "num_grow_ch": 4},
}


def tiny_system(system):
    changes = {}
    if system.trained:
        changes = {"train:total_iter": 2, "logger:save_checkpoint_freq": 1, "logger:print_freq": 1}
        changes["datasets:train:batch_size_per_gpu"] = 2
    for key, value in TINY_SYSTEMS.get(system.option_file.rsplit("/", 1)[-1], {}).items():
        changes[f"network_g:{key}"] = value
    if any(key.startswith("imle:") for key in system.forced):
        changes |= {"imle:samples_per_level": 2, "imle:pool_size": 2, "imle:reuse": 1, "imle:search_batch": 2}
    return dataclasses.replace(system, forced={**system.forced, **changes})


@pytest.fixture
def bench(project_copy, photos, tiny_network, tmp_path, monkeypatch):
    """The small preset with tiny networks, two iterations, one seed, two samples, and random SqueezeNet weights."""
    for task in ("sr16x",):
        path = project_copy / "tools" / "paper" / "options" / f"train_small_{task}.yml"
        opt = json.loads(json.dumps(read_option_file(path)))
        opt["network_g"].update({key: value for key, value in tiny_network.items() if key != "type"})
        opt["imle"].update(samples_per_level=2, pool_size=4, reuse=2, search_batch=2)
        path.write_text(yaml.safe_dump(opt, sort_keys=False))
    for phase in ("train", "val"):
        for file in sorted(photos.iterdir())[:3]:
            image = bicubic_resize(read_image(file).rgb, (272, 272)).clamp(0, 1)
            write_png(project_copy / "data" / phase / file.name, image)
    torch.manual_seed(0)
    torch.save(torchvision.models.squeezenet1_1().state_dict(), tmp_path / "squeeze.pth")
    systems = {"sr16x": tuple(tiny_system(one) for one in SMALL.systems["sr16x"])}
    preset = dataclasses.replace(SMALL, systems=systems, seeds=(0,), num_samples=2)
    monkeypatch.setattr(step_time, "TIMED_STEPS", 2)
    return Workbench(project_copy, preset, project_copy / "data", str(tmp_path / "squeeze.pth"), "cpu", jobs=2)


def no_training(*arguments):
    raise AssertionError("trained again")


def test_tables_2_to_4(bench, monkeypatch):
    content = comparison.reproduce_table2(bench, ["sr16x"])
    folder = bench.root / "docs" / "results" / "small"
    assert json.loads((folder / "table2.json").read_text()) == content
    rows = content["tasks"]["sr16x"]
    assert list(rows) == [one.name for one in SMALL.systems["sr16x"]]
    for name, row in rows.items():
        assert row["frechet_squeezenet"] > 0 and row["images_in_sets"]["ground_truths"] == 6
        assert (row["training"] is None) == (name == "bicubic")
        assert ("lpips_diversity" in row) == (name not in ("bicubic",) and "ESRGAN" not in name)
    took = rows["TIM"]["training"]
    assert took["iterations"] == 2 and took["seconds_an_iteration"] > 0
    assert took["minutes"] == pytest.approx(2 * took["seconds_an_iteration"] / 60)
    assert rows["TIM"]["images_in_sets"]["samples"] == 12 and rows["bicubic"]["images_in_sets"]["samples"] == 6
    page = (folder / "table2.md").read_text()
    assert "| TIM | 16.75 |" in page and "| bicubic | - |" in page and "- commit: " in page
    assert "| RFB-ESRGAN (regression) | 19.56 of the GAN-trained one |" in page  # ours is its regression stage
    assert "- training time: processor time of one thread, measured by turns" in page
    assert "halved; measured on 64x64 tiles of val" in page and "squeeze.pth" in page
    monkeypatch.setattr(training, "_trained", no_training)
    monkeypatch.setattr("paper.workbench.score", no_training)  # figures are kept with the runs
    monkeypatch.setattr(step_time, "_timed", no_training)  # and the time
    third = comparison.reproduce_table3(bench, ["sr16x"])
    assert third["tasks"] == content["tasks"]
    assert "| TIM | 0.0572 | 0.00586 | 0.000344 |" in (folder / "table3.md").read_text()
    comparison.reproduce_table4(bench, ["sr16x"])
    diversity = rows["TIM"]["lpips_diversity"]
    assert f"| TIM | 0.18 | {diversity:.4f} |" in (folder / "table4.md").read_text()
    assert "bicubic" not in (folder / "table4.md").read_text()
    heights = {}
    for name in ("table2", "table3", "table4"):
        assert f"]({name}.png)" in (folder / f"{name}.md").read_text()
        heights[name] = read_image(folder / f"{name}.png").rgb.shape[1]
    assert heights["table2"] > heights["table3"] == heights["table4"]  # a bar for each system, as in the table
    # Figures of another checkpoint than the one on disk are never taken.
    checkpoint = next((bench.root / "experiments").glob("reproduce_small_sr16x_*/models/net_g_latest.pth"))
    shutil.copy(checkpoint.with_name("net_g_1.pth"), checkpoint)
    with pytest.raises(AssertionError, match="trained again"):
        comparison.reproduce_table2(bench, ["sr16x"])


def test_table_5_and_figure_9(bench, monkeypatch):
    seconds = {name: 1.0 + (name == "full") for name, _ in ABLATIONS}
    monkeypatch.setattr(ablation, "kept_step_seconds", lambda runs, root: seconds)
    content = ablation.reproduce_table5(bench, ["sr16x"])
    folder = bench.root / "docs" / "results" / "small"
    variants = content["tasks"]["sr16x"]
    assert list(variants) == ["full", "-HS", "-MN", "-IS", "-WN"]
    assert variants["full"]["iterations_at_equal_time"] == 1 and variants["-WN"]["iterations_at_equal_time"] == 2
    assert variants["-MN"]["equal_iterations"][0]["parameters"] < variants["-HS"]["equal_iterations"][0]["parameters"]
    assert variants["full"]["equal_time"][0]["lpips"] != variants["full"]["equal_iterations"][0]["lpips"]
    assert variants["-WN"]["equal_time"] == variants["-WN"]["equal_iterations"]
    for one in variants.values():
        assert one["equal_iterations"][0]["selected_distance"] > 0
    page = (folder / "table5.md").read_text()
    assert re.search(r"\| -WN \| 22.51 \| \d", page) and "## sr16x, equal time" in page
    assert (folder / "table5.png").stat().st_size > 5000 and (folder / "fig9_sr16x.png").stat().st_size > 5000
    joint, own = (read_image(folder / name).rgb for name in ("fig9.png", "fig9_sr16x.png"))
    assert joint.shape[1] > own.shape[1] and torch.equal(joint[:, -own.shape[1] :], own)
    monkeypatch.setattr(training, "_trained", no_training)
    assert ablation.reproduce_table5(bench, ["sr16x"])["tasks"] == content["tasks"]
    assert reproduce_samples(bench, "fig6")["images"] and (folder / "fig6.png").stat().st_size > 5000


def test_variants_are_cumulative():
    found = dict(ablation.cumulative())
    assert found["full"] == {} and len(found["-WN"]) == len(ABLATIONS) - 1
    assert found["-IS"] == {
        "imle:sampling": "vanilla",
        "network_g:mapping": False,
        "imle:intermediate_supervision": False,
    }


def test_the_paper_preset_changes_nothing_of_the_published_files():
    for systems in PAPER.systems.values():
        assert all(one.forced == {} for one in systems)
    assert PAPER.inception and PAPER.distance == {"backbone": "vgg16", "calibration": "lpips"}


@pytest.mark.parametrize(
    ("task", "name"), [(task, one.name) for task in PRESETS["gpu"].systems for one in PRESETS["gpu"].systems[task]]
)
def test_the_gpu_preset_is_a_network_of_some_ten_million_parameters_at_128_pixels(task, name, photos):
    system = next(one for one in PRESETS["gpu"].systems[task] if one.name == name)
    opt, _ = read_with_overrides(ROOT / system.option_file, system.forced)
    for section in opt["datasets"].values():
        section["dataroot_gt"] = str(photos)
        assert section["gt_size"] == 128 or not system.trained
    check_by_model(opt)
    check_degradations(opt)
    with torch.device("meta"):
        network = network_of(opt["network_g"])
    parameters = sum(one.numel() for one in network.parameters())
    if opt["network_g"]["type"] == "TowerGenerator":
        assert 10e6 < parameters < 30e6
    if system.trained:
        milestones = opt["train"]["scheduler"]["milestones"]
        assert milestones == sorted(milestones) and milestones[-1] < opt["train"]["total_iter"] == 20_000
    if "perceptual_opt" in opt.get("train", {}):
        distance = {key: opt["train"]["perceptual_opt"][key] for key in ("backbone", "calibration")}
        assert distance == PRESETS["gpu"].distance


def test_a_worker_that_fails_says_why(bench):
    run = bench.run(bench.preset.tim("sr16x"), 0, {"datasets:train:batch_size_per_gpu": 999})
    with pytest.raises(TimError, match="do not fill one batch of 999|pool_size"):
        bench.train([run])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": "table2"}, "--data: table2 needs a folder of photographs"),
        ({"target": "table5", "tasks": "sr8x", "data": "x"}, "--tasks sr8x: is not one of table5's"),
        ({"target": "table5", "seeds": 0, "data": "x"}, "--seeds 0: must be 1 or more"),
        ({"target": "fig3", "data": "x"}, "--data: there is no folder"),
        ({"target": "weights", "data": "x"}, "--name says which tower 'weights' makes.*sr16x-small"),
        ({"target": "table2", "data": "x", "name": ["sr16x-small"]}, "--name says which tower"),
        ({"target": "weights", "data": "x", "name": ["sr16x"]}, "--name sr16x: is not a tower.*sr16x-small"),
    ],
)
def test_arguments_are_checked(tmp_path, project_copy, arguments, changes, message):
    given = {"data": None, **changes}
    given["data"] = None if given["data"] is None else tmp_path / given["data"]
    with pytest.raises(TimError, match=message):
        reproduce(project_copy, arguments(**given))


def test_random_features_cannot_compare_sets(bench):
    with pytest.raises(TimError, match="--features random: sets of images need trained features"):
        _ = dataclasses.replace(bench, features="random").extractor


def test_tiles_cover_the_middle(tmp_path):
    image = torch.rand(3, 134, 140).mul(255).round().div(255)
    write_png(tmp_path / "in" / "a.png", image)
    tiles(tmp_path / "in", tmp_path / "out", 64)
    names = [path.name for path in list_images(tmp_path / "out")]
    assert names == ["a_0_0.png", "a_1_1.png"]
    assert torch.allclose(read_image(tmp_path / "out" / "a_1_1.png").rgb, image[:, 67:131, 70:134])


def test_a_task_that_is_not_asked_for_stays_on_the_page(tmp_path, capsys):
    def measured(task, features="squeezenet1_1"):
        return {"tasks": {task: 1}, "conditions": {task: {"features_of_sets": features, "seeds": [len(task)]}}}

    def kept(content, stale=False):
        return with_other_tasks(tmp_path, "table9", content, comparison.TASKS, lambda *about: stale)

    write_target(tmp_path, "table9", measured("colorization"), ["# Table 9"])
    both = kept(measured("sr16x"))
    assert list(both["tasks"]) == list(both["conditions"]) == ["sr16x", "colorization"]  # in the page's order
    write_target(tmp_path, "table9", both, ["# Table 9"])
    page = (tmp_path / "table9.md").read_text()
    assert page.index("sr16x:") < page.index("- seeds: [5]") < page.index("colorization:") < page.index("- seeds: [12]")
    assert capsys.readouterr().err == ""
    assert list(kept(measured("sr16x", "inception"))["tasks"]) == ["sr16x"]
    assert "colorization was measured with another features of sets and is left out" in capsys.readouterr().err
    assert list(kept(measured("sr16x"), stale=True)["tasks"]) == ["sr16x"]
    assert "colorization is of runs with other options or data than now and is left out" in capsys.readouterr().err


def pretended(bench, monkeypatch):
    """Nothing is trained or measured: figures are zero, runs have the names that they would have."""
    row = {"lpips": {"mean": 0.0, "best_of_2": 0.0}, "frechet_squeezenet": 0.0, "lpips_diversity": 0.0}
    row |= {"psnr": {"mean": 0.0}, "prc": {"precision": 0.0, "recall": 0.0}, "parameters": 1}
    row["fwv"] = dict.fromkeys(("0.3", "0.2", "0.15"), 0.0)
    folder = bench.root / "experiments"
    path = "models/net_g_latest.pth"
    monkeypatch.setattr(Workbench, "train", lambda self, runs: [folder / one.name() / path for one in runs])
    monkeypatch.setattr(Workbench, "figures", lambda self, *about: dict(row))
    for module in (ablation, comparison):
        monkeypatch.setattr(module, "kept_step_seconds", lambda runs, root: dict.fromkeys(runs, 1.0))
    monkeypatch.setattr(ablation, "_selected", lambda *about: 0.0)
    picture = torch.zeros(3, 8, 8)
    monkeypatch.setattr(ablation, "_samples", lambda *about: [(picture, picture, picture)])
    systems = {task: SMALL.systems[task] for task in ("sr16x", "decompression")}
    return dataclasses.replace(bench, preset=dataclasses.replace(bench.preset, systems=systems))


@pytest.mark.parametrize("make", [comparison.reproduce_table2, ablation.reproduce_table5])
def test_a_kept_task_is_of_the_options_and_data_that_are_there_now(bench, monkeypatch, capsys, make):
    bench = pretended(bench, monkeypatch)
    assert list(make(bench, ["decompression"])["tasks"]) == ["decompression"]
    both = make(dataclasses.replace(bench, preset=dataclasses.replace(bench.preset, seeds=(0, 1))), ["sr16x"])
    assert list(both["tasks"]) == ["sr16x", "decompression"]  # it keeps its own seeds
    file = bench.root / "tools" / "paper" / "options" / "train_small_decompression.yml"
    published = file.read_text()
    opt = json.loads(json.dumps(read_option_file(file)))
    opt["train"]["optim_g"]["lr"] = 0.5
    file.write_text(yaml.safe_dump(opt, sort_keys=False))
    capsys.readouterr()
    assert list(make(bench, ["sr16x"])["tasks"]) == ["sr16x"]
    assert "decompression is of runs with other options or data than now" in capsys.readouterr().err
    folder = bench.root / "docs" / "results" / "small"
    assert not [one for one in folder.glob("*.md") if "decompression" in one.read_text()]
    file.write_text(published)
    make(bench, ["decompression"])
    other = bench.root / "other"
    shutil.copytree(bench.data, other / "data")
    next((other / "data" / "train").iterdir()).unlink()
    assert list(make(dataclasses.replace(bench, data=other / "data"), ["sr16x"])["tasks"]) == ["sr16x"]
    assert "decompression is of runs with other options or data than now" in capsys.readouterr().err


def test_the_scale_of_the_variance_must_agree(bench, monkeypatch, capsys):
    bench = pretended(bench, monkeypatch)
    comparison.reproduce_table3(bench, ["decompression"])
    other = dataclasses.replace(bench, preset=dataclasses.replace(bench.preset, fwv_scale=3.0))
    assert list(comparison.reproduce_table3(other, ["sr16x"])["tasks"]) == ["sr16x"]
    assert "decompression was measured with another faithfulness weighted variance" in capsys.readouterr().err


def test_pages():
    assert table(["a", "b"], [["1", "2"]]) == ["| a | b |", "| --- | --- |", "| 1 | 2 |"]
    assert spread([1.0]) == "1.000" and spread([1.0, 3.0], 1) == "2.0 +- 1.4" and spread([]) == "-"


def test_two_runs_of_one_process_are_logged_apart(bench):
    system = bench.preset.tim("sr16x")
    paths = bench.train([bench.run(system, 0), bench.run(system, 1), bench.run(system, 2)])  # by two processes
    assert all(list(path.parent.parent.glob("train_*.log")) for path in paths)
    assert all(logged_step_seconds(path.parent.parent) > 0 for path in paths)


START = """
import time
from concurrent.futures import ProcessPoolExecutor
import multiprocessing, os
from paper import parallel_runs as training

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(1, context, training._start_worker, (context.Value("q", 0), 1))
    print(pool.submit(os.getpid).result(), flush=True)
    pool.submit(time.sleep, 600).result()
"""


def test_training_runs_end_with_a_killed_parent(tmp_path):
    (tmp_path / "start.py").write_text(START)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tools")])}
    parent = subprocess.Popen([sys.executable, "start.py"], cwd=tmp_path, env=environment, stdout=subprocess.PIPE)
    worker = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    for _ in range(300):
        if not is_running(worker):
            break
        time.sleep(0.1)
    assert not is_running(worker)


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
