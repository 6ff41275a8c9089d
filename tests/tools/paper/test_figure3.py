"""Figure 3: counts of samples against brute force, and the road from photographs to a page."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
import yaml

from paper import cached_runs, figure3
from paper.halved_photographs import halved
from paper.presets import SMALL
from paper.sample_efficiency import Efficiency, measure_efficiency
from paper.workbench import Workbench
from tim_plugin.degradations.base import Observed
from tim_plugin.imle.latents import Latents
from tim_plugin.imle.pyramid import condition_pyramid, target_pyramid
from tim_plugin.losses.distance import PixelDistance
from tim_plugin.options.option_file import read_option_file
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.images import read_image, write_png
from tim_plugin.utils.resize import bicubic_resize

OPTION_FILE, LABEL = "train_small_sr16x.yml", "reproduce_small_sr16x"


def test_needed_is_the_first_count_that_is_as_near():
    one = Efficiency({"last": {2: 0.5, 4: 0.3, 8: 0.1}, "sum": {}}, {"last": [0.9, 0.6, 0.5, 0.5, 0.3, 0.2], "sum": []})
    assert [one.needed("last", m) for m in (2, 4, 8)] == [3, 5, None]


@pytest.mark.parametrize("at_once", [4, 9])
def test_efficiency_is_brute_force(tiny_tower, at_once):
    tower, distance = tiny_tower(num_levels=2), PixelDistance()
    gt = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    lq = torch.stack([tower.degradation.degrade(one).lq for one in gt])
    found = measure_efficiency(tower, distance, lq, gt, [1], 5, seed=3, at_once=at_once)
    assert len(found.vanilla["last"]) == 5
    assert found.vanilla["sum"] == sorted(found.vanilla["sum"], reverse=True)
    assert found.vanilla["last"] == sorted(found.vanilla["last"], reverse=True)
    again = measure_efficiency(tower, distance, lq, gt, [1], 5, seed=3, at_once=at_once)
    assert again == found
    other = measure_efficiency(tower, distance, lq, gt, [1], 5, seed=4, at_once=at_once)
    assert other != found
    # The first vanilla sample of all is one draw of all codes, behind those of the one hierarchical candidate.
    generator, shapes = torch.Generator().manual_seed(3), tower.latent_shapes(*lq.shape[-2:])
    conditions, targets = condition_pyramid(Observed(lq), tower.spec, tower.degradation), target_pyramid(gt, 2)
    with torch.no_grad():
        first = tower(conditions, Latents.draw(shapes, 2, generator))
        single = [float(distance(image, target).mean()) for image, target in zip(first, targets, strict=True)]
    assert found.hierarchical["last"][1] == pytest.approx(single[-1], rel=1e-5)
    assert found.hierarchical["sum"][1] == pytest.approx(sum(single), rel=1e-5)


@pytest.fixture
def small(project_copy, photos, tiny_network, monkeypatch):
    """The preset with a tiny network and three iterations, and photographs large enough to be halved."""
    path = project_copy / "tools" / "paper" / "options" / OPTION_FILE
    opt = json.loads(json.dumps(read_option_file(path)))
    opt["network_g"].update({key: value for key, value in tiny_network.items() if key != "type"})
    opt["imle"].update(samples_per_level=2, pool_size=8, reuse=2)
    opt["train"]["total_iter"] = 3
    opt["datasets"]["train"]["dataset_enlarge_ratio"] = 4
    opt["logger"].update(save_checkpoint_freq=1, progress_bar=False)
    path.write_text(yaml.safe_dump(opt, sort_keys=False))
    for phase in ("train", "val"):
        for file in photos.iterdir():
            write_png(
                project_copy / "data" / phase / file.name, bicubic_resize(read_image(file).rgb, (160, 200)).clamp(0, 1)
            )
    for name, value in (("COUNTS", (2, 4)), ("VANILLA_SAMPLES", 12), ("RUNS", 2), ("INPUTS", 3)):
        monkeypatch.setattr(figure3, name, value)
    return project_copy


def test_figure_3_is_trained_once_measured_and_written(small, monkeypatch):
    bench = Workbench(small, SMALL, small / "data", "random")
    content = figure3.reproduce_figure3(bench)
    folder = small / "docs" / "results" / "small"
    assert json.loads((folder / "fig3.json").read_text()) == content
    assert set(content["figure"]) == {"last", "sum"} and set(content["figure"]["last"]) == {"2", "4"}
    for one in content["figure"]["last"].values():
        assert len(one["needed"]) == 2 and one["hierarchical_distance"] > 0
        assert one["not_reached"] == one["needed"].count(None) and one["ratio_mean"] > 0
    assert content["conditions"]["iterations"] == 3 and "random weights" in content["conditions"]["distance"]
    page = (folder / "fig3.md").read_text()
    assert "| 4 | distance of the last level |" in page and "2 to 8 times" in page
    assert (folder / "fig3.png").stat().st_size > 5000

    def no_training(*arguments):
        raise AssertionError("trained again")

    monkeypatch.setattr(cached_runs, "train_pipeline", no_training)
    again = figure3.reproduce_figure3(Workbench(small, SMALL, small / "data", "random"))
    assert again["figure"] == content["figure"]
    shutil.copytree(small / "datasets", small / "elsewhere")
    option_file, moved = small / "tools" / "paper" / "options" / OPTION_FILE, small / "elsewhere" / "reproduce_half"
    places = {phase: next((moved / phase).iterdir()) for phase in ("train", "val")}
    overrides = {f"datasets:{phase}:dataroot_gt": str(place) for phase, place in places.items()}
    overrides["train:perceptual_opt:weights"] = "random"
    checkpoint = cached_runs.trained_checkpoint(option_file, overrides, LABEL, small)
    assert checkpoint.parent.parent.name == content["conditions"]["run"]  # the same data elsewhere are the same run
    next(places["train"].iterdir()).unlink()
    with pytest.raises(AssertionError, match="trained again"):  # other data are another run
        cached_runs.trained_checkpoint(option_file, overrides, LABEL, small)
    with pytest.raises(AssertionError, match="trained again"):  # other options are another run
        cached_runs.trained_checkpoint(option_file, {"train:total_iter": 2}, "x", small)


def test_a_run_that_was_killed_goes_on_and_a_changed_one_is_refused(small, monkeypatch):
    option_file = small / "tools" / "paper" / "options" / OPTION_FILE
    overrides = {
        f"datasets:{phase}:dataroot_gt": str(halved([small / "data" / phase], small / "half" / phase))
        for phase in ("train", "val")
    }
    whole = cached_runs.trained_checkpoint(option_file, overrides, "whole", small)
    train, seen = cached_runs.train_pipeline, []

    def killed(root, argv, on_step):
        def stop(current_iter, log):
            seen.append(current_iter)
            if current_iter == 2:
                raise KeyboardInterrupt

        train(root, argv, stop)

    monkeypatch.setattr(cached_runs, "train_pipeline", killed)
    with pytest.raises(KeyboardInterrupt):
        cached_runs.trained_checkpoint(option_file, overrides, "killed", small)
    monkeypatch.setattr(
        cached_runs, "train_pipeline", lambda root, argv, on_step: train(root, argv, lambda i, log: seen.append(i))
    )
    resumed = cached_runs.trained_checkpoint(option_file, overrides, "killed", small)
    assert seen == [1, 2, 2, 3]
    states = [torch.load(path, weights_only=True)["params_ema"] for path in (whole, resumed)]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    record = resumed.parent.parent / cached_runs.RECORD
    record.write_text(record.read_text().replace('"total_iter": 3', '"total_iter": 9'))
    with pytest.raises(TimError, match="holds a run of other options"):
        cached_runs.trained_checkpoint(option_file, overrides, "killed", small)


def test_wrong_data_is_named(small):
    shutil.rmtree(small / "data" / "val")
    with pytest.raises(TimError, match="--data: there is no folder .*val; give a folder that holds train and val"):
        figure3.reproduce_figure3(Workbench(small, SMALL, small / "data", "random"))
