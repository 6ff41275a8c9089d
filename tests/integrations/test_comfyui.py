"""The ComfyUI nodes by ComfyUI's calling convention; ComfyUI itself is on no package index, so it is not run here.

It imports the folder by its path, reads ``INPUT_TYPES``, makes an instance, and calls ``FUNCTION`` in inference mode
with keyword arguments, of which each is a value or what another node returned.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

import tim_plugin as tim
from tim_plugin.utils.errors import TimError

FOLDER = Path(__file__).resolve().parents[2] / "integrations" / "comfyui"


@pytest.fixture(scope="module")
def nodes():
    """Import the folder as ComfyUI does: under its path, with dots replaced."""
    name = str(FOLDER).replace(".", "_x_")
    spec = importlib.util.spec_from_file_location(name, FOLDER / "__init__.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    yield module.NODE_CLASS_MAPPINGS
    del sys.modules[name]


def defaults(node):
    """The value of each input that a widget gives, by its default."""
    inputs = node.INPUT_TYPES()
    described = {**inputs["required"], **inputs.get("optional", {})}
    return {name: limits[0]["default"] for name, (kind, *limits) in described.items() if limits}


def execute(node, **given):
    with torch.inference_mode():
        return getattr(node(), node.FUNCTION)(**{**defaults(node), **given})


@pytest.fixture(scope="module")
def tower(nodes):
    (tower,) = execute(nodes["TIMLoadTower"])
    return tower


@pytest.fixture
def images():
    return torch.rand(2, 6, 5, 3, generator=torch.Generator().manual_seed(0)) * 0.4 + 0.3


def test_the_nodes_describe_themselves(nodes):
    load, sample = nodes["TIMLoadTower"], nodes["TIMSampleTower"]
    names, limits = load.INPUT_TYPES()["required"]["model"]
    assert names == list(tim.list_models()) and limits["default"] in names
    assert sample.INPUT_TYPES()["required"]["tower"] == load.RETURN_TYPES and sample.RETURN_TYPES == ("IMAGE",)
    for node in nodes.values():
        assert hasattr(node, node.FUNCTION) and node.CATEGORY and len(node.RETURN_TYPES) == len(node.RETURN_NAMES)


def test_samples_are_the_towers_own_in_comfyuis_form(nodes, tower, images):
    (found,) = execute(nodes["TIMSampleTower"], tower=tower, image=images, seed=5, count=3)
    assert found.shape == (6, 24, 20, 3) and found.dtype == torch.float32 and 0 <= found.min() <= found.max() <= 1
    ours = tim.load("sr4x-small", device="cpu").sample(images.movedim(-1, 1), n=3, seed=5).images  # (2, 3, 3, 24, 20)
    assert torch.equal(found, ours.flatten(0, 1).movedim(1, -1))
    (again,) = execute(nodes["TIMSampleTower"], tower=tower, image=images, seed=5, count=3)
    (other,) = execute(nodes["TIMSampleTower"], tower=tower, image=images, seed=6, count=3)
    assert torch.equal(found, again) and not torch.equal(found, other)


def test_kept_levels_are_those_of_the_sample_that_is_named(nodes, tower, images):
    node, image = nodes["TIMSampleTower"], images[:1]
    (found,) = execute(node, tower=tower, image=image, count=4)
    (kept,) = execute(node, tower=tower, image=image, count=4, keep_levels=1, keep_sample=2)
    assert torch.equal(kept[2], found[2]) and not torch.equal(kept[0], found[0])
    assert (kept - kept[2]).abs().mean() < (found - found[2]).abs().mean()  # only the fine level differs
    (alone,) = execute(node, tower=tower, image=image, count=4, keep_levels=64, keep_sample=2)
    assert torch.equal(alone, found[2:3])


def test_the_whole_range_of_the_widgets_is_taken(nodes, tower, images):
    limits = {**nodes["TIMSampleTower"].INPUT_TYPES()["required"]}
    (found,) = execute(nodes["TIMSampleTower"], tower=tower, image=images[:1], seed=limits["seed"][1]["max"], count=1)
    (calm,) = execute(nodes["TIMSampleTower"], tower=tower, image=images[:1], count=2, variety=0.0)
    assert len(found) == 1 and torch.equal(calm[0], calm[1])


def test_alpha_and_values_a_little_outside_are_taken_and_digits_come_in_three_channels(nodes, tower, images):
    with_alpha = torch.cat([images * 2 - 0.4, torch.ones(2, 6, 5, 1)], dim=-1)
    (found,) = execute(nodes["TIMSampleTower"], tower=tower, image=with_alpha, count=1)
    assert found.shape == (2, 24, 20, 3)
    (digits,) = execute(nodes["TIMLoadTower"], model="mnist-pca")
    (found,) = execute(nodes["TIMSampleTower"], tower=digits, image=torch.zeros(1, 28, 28, 3), count=2)
    assert found.shape == (2, 32, 32, 3)


def test_a_file_goes_before_the_name_and_a_wrong_one_is_one_sentence(nodes):
    with pytest.raises(TimError, match="^nowhere.pth: there is no such checkpoint"):
        execute(nodes["TIMLoadTower"], file=" nowhere.pth ")
