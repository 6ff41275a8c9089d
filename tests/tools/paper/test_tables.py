"""Tables 2 to 5 and the sheets, from photographs to pages, with tiny networks: trained once, by two processes."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path

import pytest
import torch

from paper import ablation, equal_time, networks
from paper import parallel_runs as training
from paper import system_tables as comparison
from paper.page_rows import NONE, page_rows
from paper.presets import ABLATIONS, SMALL
from paper.sample_figures import reproduce_samples
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.images import read_image

ROOT = Path(__file__).resolve().parents[3]


def no_training(*arguments):
    raise AssertionError("trained again")


SECONDS = {"cIMLE": 4.0, "cIMLE, width 10": 1.0}  # an iteration, the others' is 2


def test_tables_2_to_4(bench, monkeypatch):
    monkeypatch.setattr(equal_time, "step_seconds", lambda runs: {name: SECONDS.get(name, 2.0) for name in runs})
    content = comparison.reproduce_table2(bench, ["sr16x"])
    folder = bench.root / "docs" / "results" / "small"
    assert json.loads((folder / "table2.json").read_text()) == content
    rows = content["tasks"]["sr16x"]
    assert list(rows) == [one.name for one in SMALL.systems["sr16x"]]
    figures = {name: row["seeds"][0] for name, row in rows.items()}
    for name, row in rows.items():
        assert figures[name]["frechet_squeezenet"] > 0 and figures[name]["images_in_sets"]["ground_truths"] == 6
        assert (row["training"] is None) == (name == "bicubic") and len(row["seeds"]) == 1
        assert ("lpips_diversity" in figures[name]) == (name not in ("bicubic",) and "ESRGAN" not in name)
    took = {name: row["training"]["iterations"] for name, row in rows.items() if row["training"]}
    assert (took.pop("TIM"), took.pop("cIMLE"), took.pop("cIMLE, width 10")) == (2, 1, 4)  # as long as TIM's two
    assert set(took.values()) == {2}
    assert {row["training"]["minutes"] for row in rows.values() if row["training"]} == {2 * 2.0 / 60}
    assert figures["TIM"]["images_in_sets"]["samples"] == 12 and figures["bicubic"]["images_in_sets"]["samples"] == 6
    page = (folder / "table2.md").read_text()
    assert "| TIM | 16.75 |" in page and "| bicubic | - |" in page and "- commit: " in page
    assert "| RFB-ESRGAN (regression) | 19.56 of the GAN-trained one |" in page  # ours is its regression stage
    assert "- training time: processor time of one thread, measured by turns" in page
    assert "halved; measured on 64x64 tiles of val" in page and "squeeze.pth" in page
    titles = [line for line in page.splitlines() if line.startswith("## ")]
    assert titles == ["## sr16x", f"## sr16x, {comparison.AS_COSTLY}"]
    first, second = page.split(titles[1])
    assert "| cIMLE | 27.34 |" in first and "| cIMLE, width 10 | - |" not in first
    second = second.split("energy score: pixels")[0]
    assert "| TIM | 16.75 |" in second and "| cIMLE, width 10 | - |" in second and "| cIMLE | " not in second
    for name, row in figures.items():
        sets, floor = row["sets"]["frechet_squeezenet"], row["floor"]["frechet_squeezenet"]
        assert sets["images_in_sets"]["ground_truths"] == 12 == floor["images"]  # all tiles, not every other one
        assert sets["frechet_squeezenet_parts"]["means"] > 0 and set(sets) - {"images_in_sets"} == set(floor) - {
            "images"
        }
        assert row["cost"]["seconds"] > 0 and (row["cost"]["multiplications"] > 0 or name == "bicubic")
    score = figures["TIM"]["posterior"]["energy_score"]
    assert f"| TIM | {score['pixels']:.4f} | {score['features']:.4f} |" in page and "3 samples of each of 2" in page
    parts = figures["TIM"]["sets"]["frechet_squeezenet"]["frechet_squeezenet_parts"]
    assert f"| {parts['means']:.3f} | {parts['spreads']:.3f} |" in page and "| real images | 1 |" in page
    assert f"| {figures['TIM']['parameters']:,} | {figures['TIM']['cost']['multiplications'] / 1e6:,.1f} |" in page
    assert "- images of sets: 12 of val; of the floor: 12 of train" in page and "one sample an input" not in page
    monkeypatch.setattr(training, "_trained", no_training)
    monkeypatch.setattr("paper.workbench.score", no_training)  # figures are kept with the runs
    monkeypatch.setattr("paper.set_figures.NetworkCases", no_training)
    monkeypatch.setattr("paper.posterior_figures.NetworkCases", no_training)
    monkeypatch.setattr("paper.row_figures.sample_cost", no_training)
    monkeypatch.setattr(equal_time, "step_seconds", no_training)  # and the time
    third = comparison.reproduce_table3(bench, ["sr16x"])
    assert third["tasks"] == content["tasks"]
    assert "| TIM | 0.0572 | 0.00586 | 0.000344 |" in (folder / "table3.md").read_text()
    comparison.reproduce_table4(bench, ["sr16x"])
    diversity = figures["TIM"]["lpips_diversity"]
    assert f"| TIM | 0.18 | {diversity:.4f} |" in (folder / "table4.md").read_text()
    assert "bicubic" not in (folder / "table4.md").read_text()
    heights = {}
    for name in ("table2", "table3", "table4"):
        assert f"]({name}.png)" in (folder / f"{name}.md").read_text()
        heights[name] = read_image(folder / f"{name}.png").rgb.shape[1]
    assert heights["table2"] > heights["table3"] == heights["table4"]  # a bar for each system, as in the table
    sheet = folder / "table2_sr16x.png"
    assert "![Samples](table2_sr16x.png)" in (folder / "table2.md").read_text() and sheet.stat().st_size > 5000
    of_tim = dataclasses.replace(bench, finished_only=True, preset=dataclasses.replace(bench.preset, seeds=(0, 1)))
    runs = bench.root / "experiments"
    for unfinished in runs.glob("reproduce_cimle_*/options.json"):
        unfinished.rename(unfinished.with_suffix(".kept"))
    drawn = read_image(sheet).rgb.shape[1]
    part = comparison.reproduce_table2(of_tim, ["sr16x"])["tasks"]["sr16x"]
    assert part == {name: row for name, row in rows.items() if not name.startswith("cIMLE")}
    assert "- training seeds: 0\n" in (folder / "table2.md").read_text()  # of which there are runs, not 0 and 1
    assert read_image(sheet).rgb.shape[1] < drawn  # two systems fewer
    assert "Not measured: cIMLE; cIMLE, width 10." in (folder / "table2.md").read_text()
    for unfinished in runs.glob("*/options.json"):
        unfinished.rename(unfinished.with_suffix(".kept"))
    for finished in runs.glob("reproduce_cimle_*/options.kept"):  # on another machine, which has these alone
        finished.rename(finished.with_suffix(".json"))
        (finished.parent / "machine.json").write_text('{"commit": "theirs", "hardware": "another"}')
    added = comparison.reproduce_table2(dataclasses.replace(of_tim, adds=True), ["sr16x"])
    assert added["tasks"]["sr16x"] == rows and list(added["tasks"]["sr16x"]) == list(rows)
    commits = content["conditions"]["sr16x"]["training_commit"]
    assert added["conditions"]["sr16x"]["training_commit"] == f"{commits}; theirs"
    other_options = dataclasses.replace(
        of_tim.preset.tim("sr16x"), overrides={**of_tim.preset.tim("sr16x").overrides, "train:ema_decay": 0.5}
    )
    systems = {"sr16x": (other_options, *of_tim.preset.systems["sr16x"][1:])}
    other = dataclasses.replace(of_tim, adds=True, preset=dataclasses.replace(of_tim.preset, systems=systems))
    assert page_rows(other, folder, "table2", "sr16x") == NONE
    for row in added["tasks"]["sr16x"]["TIM"]["seeds"]:
        row.pop("sets")  # as on a page of before there were any
    (folder / "table2.json").write_text(json.dumps(added))
    assert page_rows(dataclasses.replace(of_tim, adds=True), folder, "table2", "sr16x") == NONE
    with pytest.raises(TimError, match="--finished: no run of TIM in sr16x is finished"):
        comparison.compare(of_tim, ["sr16x"])
    for unfinished in runs.glob("*/options.kept"):
        unfinished.rename(unfinished.with_suffix(".json"))
    # Figures of another checkpoint than the one on disk are never taken.
    checkpoint = next((bench.root / "experiments").glob("reproduce_small_sr16x_*/models/net_g_latest.pth"))
    shutil.copy(checkpoint.with_name("net_g_1.pth"), checkpoint)
    with pytest.raises(AssertionError, match="trained again"):
        comparison.reproduce_table2(bench, ["sr16x"])


def test_the_fastest_variant_loses_no_checkpoint_to_rounding():
    assert int(1200 * 0.111 / 0.111 / 100) == 11
    assert ablation._reached(1200, 0.111, 0.111, 100) == 1200
    assert ablation._reached(1200, 0.111, 0.222, 100) == 600 and ablation._reached(1200, 0.111, 99, 100) == 100


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


def test_the_authors_network_stands_beside_ours_of_table_5(bench, monkeypatch):
    monkeypatch.setattr(ablation, "kept_step_seconds", lambda runs, root: dict.fromkeys(runs, 1.0))
    folder = bench.root / "docs" / "results" / "small"
    content = networks.reproduce_networks(bench, ["sr16x"])
    theirs = content["tasks"]["sr16x"][networks.THEIRS]
    assert theirs["equal_iterations"][0]["frechet_squeezenet"] > 0 and theirs["iterations"] == 2
    text = content["tasks"]["sr16x"][networks.TEXT]
    assert text["equal_iterations"][0]["parameters"] > theirs["equal_iterations"][0]["parameters"]  # it reads more
    options = [bench.run(bench.preset.tim("sr16x"), 0, changes).options() for _, changes in networks.CHANGES["sr16x"]]
    assert options[0]["network_g"]["image_below"] == "signed" and options[1]["network_g"]["condition_every_level"]
    assert networks.OURS + " |" not in (folder / "networks.md").read_text()  # nobody made table 5 here
    ours = {**theirs, "equal_iterations": theirs["equal_iterations"] * 3}
    (folder / "table5.json").write_text(json.dumps({"tasks": {"sr16x": {"full": ours}}, "conditions": {}}))
    monkeypatch.setattr(training, "_trained", no_training)
    networks.reproduce_networks(bench, ["sr16x"])
    lines = (folder / "networks.md").read_text().splitlines()
    names = (networks.OURS, networks.THEIRS, networks.TEXT)
    first, second, _ = (next(line for line in lines if line.startswith(f"| {name} |")) for name in names)
    assert " +- 0.000" in first and "| 3 |" in first and "+-" not in second and "| 1 |" in second


def test_variants_are_cumulative():
    found = dict(ablation.cumulative())
    assert found["full"] == {} and len(found["-WN"]) == len(ABLATIONS) - 1
    assert found["-IS"] == {
        "imle:sampling": "vanilla",
        "network_g:mapping": False,
        "imle:intermediate_supervision": False,
    }
