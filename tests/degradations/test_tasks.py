"""The table of tasks."""

from __future__ import annotations

import inspect
from typing import get_args

import pytest
import torch

from tim_plugin.degradations.table import DEGRADATIONS, degradation_options, network_options
from tim_plugin.degradations.tasks import TASKS, get_task
from tim_plugin.options.tower_spec import TowerSpec
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.signatures import NEEDED
from tim_plugin.utils.trees import map_tensors, tile

OPTIONS = {"mnist_pca": {"basis": "sklearn:digits/train"}}
SIDES = {"mnist_pca": (32, 32)}


@pytest.mark.parametrize("name", [name for name in TASKS if name != "layouts"])
def test_each_task_degrades_its_gt_to_what_is_read_of_its_file(name):
    task = get_task(name)
    degradation = task.build(OPTIONS.get(name, {}), "here")
    sides = SIDES.get(name, (4 * task.gt_multiple, 8 * task.gt_multiple))
    gt = torch.rand(degradation.image_channels, *sides, generator=torch.Generator().manual_seed(0))
    observed = degradation.degrade(gt)
    assert observed.lq.shape == (degradation.channels, sides[0] // task.scale, sides[1] // task.scale)
    assert degradation.is_complete(observed)
    read = degradation.read(degradation.encode(gt), "the file")
    # A clipped reconstruction has slightly other coordinates; all else is the same to float precision.
    assert torch.allclose(read.lq, observed.lq, atol=0.1 if name == "mnist_pca" else 1e-6)
    picture = degradation.picture(observed.lq)
    assert picture.shape == (3, *observed.lq.shape[1:]) and 0 <= picture.min() and picture.max() <= 1


PROJECTED = [name for name, task in TASKS.items() if DEGRADATIONS[task.degradation].projects]


@pytest.mark.parametrize("name", PROJECTED)
def test_a_saved_sample_does_not_depend_on_what_it_is_saved_with(name):
    degradation = get_task(name).build({"quality": 30} if name == "decompression" else OPTIONS.get(name, {}), "here")
    generator = torch.Generator().manual_seed(0)
    gt = torch.rand(degradation.image_channels, 32, 32, generator=generator).sqrt()
    observed = map_tensors(lambda tensor: tensor[None], degradation.degrade(gt))
    raw = gt + torch.linspace(0, 0.8, 6).view(-1, 1, 1, 1) * torch.randn(6, *gt.shape, generator=generator)
    together = degradation.project_for_saving(raw, tile(observed, 6))
    for index in range(6):
        alone = degradation.project_for_saving(raw[index : index + 1], observed)
        assert (alone[0] - together[index]).abs().max() < 1e-6, index


def test_a_label_map_cannot_be_made_from_a_photograph():
    with pytest.raises(TimError, match="give dataroot_lq"):
        get_task("layouts").build({}, "here").degrade(torch.rand(3, 16, 16))


@pytest.mark.parametrize("name", ["sr16", "SR16x", "", None, ["sr16x"]])
def test_an_unknown_task_names_the_nearest(name):
    with pytest.raises(TimError, match="sr16x"):
        get_task(name)


@pytest.mark.parametrize(
    ("name", "section", "message"),
    [
        ("colorization", {"quality": 3}, "here: quality is no option of colourisation, which has none of its own"),
        ("decompression", {"palette": "gta"}, "palette is no option of image decompression, which has quality, sub"),
        ("decompression", {"quality": 0}, "here: quality 0 must lie within 1 and 100"),
        ("mnist_pca", {}, "here: .*basis"),
    ],
)
def test_options_of_another_task_are_refused(name, section, message):
    with pytest.raises(TimError, match=message):
        get_task(name).build(section, "here")


@pytest.mark.parametrize("kind", DEGRADATIONS)
def test_options_are_the_constructors_arguments_and_say_what_they_mean(kind):
    options = {option.name: option for option in degradation_options(kind)}
    assert set(options) == set(inspect.signature(DEGRADATIONS[kind].builder()).parameters) - {"scale"}
    assert all(option.sentence.endswith(".") for option in options.values())
    assert {option.name for option in network_options(kind)} <= set(options)


def test_an_option_has_its_name_type_default_and_meaning():
    quality, subsampling = degradation_options("jpeg")
    assert (quality.name, quality.type, quality.default) == ("quality", int | tuple[int, int], 1)
    assert quality.sentence == "JPEG quality, 1 to 100, or the two ends of a range from which each image draws."
    one, several = get_args(subsampling.type)
    assert (subsampling.default, get_args(one)) == ("4:2:0", ("4:4:4", "4:2:2", "4:2:0"))
    assert get_args(several) == (one, ...)
    assert degradation_options("pca")[0].default is NEEDED
    assert network_options("jpeg") == ()  # a file says how it was made
    assert get_task("layouts").options == {"palette", "void", "num_classes", "void_index", "cells"}
    assert {key: TowerSpec.keys()[key].default for key in ("style_dim", "head")} == {"style_dim": 128, "head": "rgb"}


def test_what_does_not_project_has_nothing_to_measure():
    built = {task.degradation: task.build(OPTIONS.get(name, {}), "x") for name, task in TASKS.items()}
    built["unknown"] = DEGRADATIONS["unknown"]()
    assert {kind for kind, one in built.items() if not one.projects} == {"unknown", "labels"}
    for one in built.values():
        assert one.projects == bool(one.measured)
        if not one.projects:
            with pytest.raises(TimError, match="nothing to project"):
                one.project(torch.rand(1, 3, 8, 8), {})
