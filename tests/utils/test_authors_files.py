"""Files of the method's authors: their outputs at every level, what is guessed of them, and what is refused by name.

``tests/parity`` holds networks of the public code (random weights, reduced widths) with inputs, codes and outputs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch

import tim_plugin as tim
from tests.parity.reference import TASKS, file, largest_differences, weights
from tim_plugin.archs import folded
from tim_plugin.archs.tower_arch import TowerGenerator
from tim_plugin.cli.main import main
from tim_plugin.imle.latents import Latents
from tim_plugin.imle.types import Condition
from tim_plugin.inference.files import sample_files
from tim_plugin.inference.memory_use import activation_bytes
from tim_plugin.inference.towers import convert
from tim_plugin.options.tower_spec import TowerSpec
from tim_plugin.utils import tensor_files
from tim_plugin.utils.authors_files import Sizes, expected_shapes
from tim_plugin.utils.checkpoints import load_into, parameters_of, read_checkpoint
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.images import round_to_8_bit, write_png
from tim_plugin.utils.tensor_files import mapped_bytes


@pytest.mark.parametrize("name", TASKS)
def test_each_file_gives_the_authors_images_at_every_level(name):
    tower = tim.load(file(name), device="cpu", task=TASKS[name])
    assert max(largest_differences(tower.network, name)) < 1e-5


@pytest.mark.parametrize("name", TASKS)
def test_a_converted_file_gives_the_same_without_being_told(name, tmp_path, capsys):
    torch.save(
        {"epoch": 3, "state_dict": {f"module.{key}": one for key, one in weights(name).items()}}, tmp_path / "9_G.pth"
    )
    output = tmp_path / "new" / "mine.safetensors"
    main([str(tmp_path / "9_G.pth"), "-o", str(output), "--task", TASKS[name]], command="convert")
    assert "TowerGenerator" in capsys.readouterr().out
    tower = tim.load(output, device="cpu")
    assert tower.options == tim.load(file(name), device="cpu", task=TASKS[name]).options
    assert max(largest_differences(tower.network, name)) < 1e-5


def test_what_keys_and_shapes_say_of_the_task(tmp_path):
    said = {name: tim.load(file(name), device="cpu").network.spec.degradation["type"] for name in TASKS}
    assert said["camnet_colorization"] == said["chimle_colourization"] == "lightness"
    assert (said["camnet_image_synthesis"], said["hyperrim_decompression"]) == ("labels", "jpeg")
    assert said["camnet_super_resolution"] == said["chimle_super_resolution"] == "bicubic"
    for name, kind in (("camnet_decompression", "jpeg"), ("chimle_generic", "unknown")):
        state = weights(name)
        for index in (1, 3):  # as training leaves what no image depends on
            state[f"level_4_up.{index}.weight_g"] = (
                state[f"level_4_up.{index}.weight_v"].flatten(1).norm(dim=1).view(-1, 1, 1, 1)
            )
        torch.save(state, tmp_path / "N_G.pth")
        assert tim.load(tmp_path / "N_G.pth", device="cpu").network.spec.degradation["type"] == kind


@pytest.mark.parametrize(
    ("name", "task", "message"),
    [
        (
            "camnet_super_resolution",
            "colorization",
            "is no such network by its keys .* super_resolution or decompression",
        ),
        ("camnet_colorization", "layouts", "is no such network .*: colorization"),
        ("camnet_super_resolution", "sr8x", "has 4 levels, which enlarge 16x"),
        ("camnet_super_resolution", "superresolution", "did you mean 'super_resolution'"),
    ],
)
def test_a_task_that_the_file_cannot_be_is_refused(name, task, message):
    with pytest.raises(TimError, match=message):
        tim.load(file(name), device="cpu", task=task)


def without(key):
    return lambda state: state.pop(key)


def cut(key):
    return lambda state: state.update({key: state[key][:-1]})


@pytest.mark.parametrize("name", ["camnet_colorization", "chimle_generic"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            without("level_2_style.sub.1.RDB2.conv3.0.weight_g"),
            r"level_2_style.sub.1.RDB2.conv3.0.weight_g is missing\Z",
        ),
        (without("level_3_style.sub.transform_0.bias"), r"level_3_style.sub.transform_0.bias is missing\Z"),
        (without("level_4_out.0.bias"), r"level_4_out.0.bias is missing\Z"),
        (cut("level_2_feat.0.weight_v"), r"level_2_feat.0.weight_v is \(5, .*instead of \(6, [^;]*\)\Z"),
        (cut("level_1_map.4.bias"), r"level_1_map.4.bias is \(11,\) instead of \(12,\)\Z"),
        (lambda state: state.update(extra=torch.zeros(1)), r"extra is unknown\Z"),
        (lambda state: state.update({"encoder.0.weight": torch.zeros(1)}), r"encoder.0.weight is unknown\Z"),
    ],
)
def test_a_file_that_differs_is_refused_by_the_key(name, change, message, tmp_path):
    state = weights(name)
    change(state)
    torch.save(state, tmp_path / "N_G.pth")
    with pytest.raises(TimError, match=message):
        tim.load(tmp_path / "N_G.pth", device="cpu")


def test_a_file_of_something_else_is_refused_with_its_keys(tmp_path):
    torch.save({"conv.weight": torch.zeros(1)}, tmp_path / "N_G.pth")
    with pytest.raises(TimError, match=r"\(conv.weight, ...\) are not those of the method's authors"):
        tim.load(tmp_path / "N_G.pth", device="cpu")
    with pytest.raises(TimError, match="what a file of the method's authors is for, and .* sr16x-small is none"):
        tim.load("sr16x-small", device="cpu", task="decompression")


def test_training_can_begin_with_an_authors_file():
    arguments = dict(tim.load(file("camnet_super_resolution"), device="cpu").options)
    network = TowerGenerator(**{key: value for key, value in arguments.items() if key != "type"})
    checkpoint = read_checkpoint(file("camnet_super_resolution"))
    load_into(network, parameters_of(checkpoint, "N_G.pth", "params", network), "N_G.pth")
    assert max(largest_differences(network, "camnet_super_resolution")) < 1e-5


def test_samples_are_those_of_the_network_by_the_public_road(tmp_path):
    tower = tim.load(file("chimle_super_resolution"), device="cpu")
    lq = round_to_8_bit(torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(0)))
    shapes = tower.network.latent_shapes(4, 5)
    latents = Latents.from_keys(shapes, [[(7, "thumb", j, k) for k in range(4)] for j in range(2)])
    with torch.no_grad():
        wanted = tower.network([Condition(lq.expand(2, -1, -1, -1)), *[Condition(None)] * 3], latents)[-1]
    differences = (tower.sample(lq, n=2, seed=7, name="thumb").images - round_to_8_bit(wanted)).abs()
    assert differences.max() <= 1 / 255 + 1e-6 and (differences > 0).float().mean() < 0.01
    write_png(tmp_path / "thumb.png", lq)
    entries = sample_files(
        tmp_path / "thumb.png", tmp_path / "out", file("chimle_super_resolution"), num_samples=2, seed=7, device="cpu"
    )
    assert [one["file"] for one in entries[0]["samples"]] == ["thumb_s00.png", "thumb_s01.png"]
    other = sample_files(
        tmp_path / "thumb.png",
        tmp_path / "other",
        file("chimle_super_resolution"),
        num_samples=1,
        device="cpu",
        task="generic",
    )
    assert other[0]["made_with"]["task"] == "generic" and "task" not in entries[0]["made_with"]


MEASURE = """
import json, resource, sys
import torch
import tim_plugin as tim

def peak_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

lq = torch.rand(3, 8, 8)
tim.load("sr16x-small", device="cpu").sample(lq, n=1)  # what libraries take counts as before
before = peak_bytes()
out = tim.load(sys.argv[1], device="cpu").sample(lq, n=1)
print(json.dumps([peak_bytes() - before, list(out.images.shape)]))
"""


@pytest.mark.skipif("PUBLISHED_SIZE" not in os.environ, reason="takes minutes and 2.5 GB: set PUBLISHED_SIZE=1")
@pytest.mark.parametrize("zipped", [True, False])  # as torch has written files since 1.6, and before
def test_a_published_network_takes_little_more_than_its_weights(zipped, tmp_path):
    sizes = Sizes((128, 64, 64, 64), (256, 192, 128, 64), 6, 128, 512, 8, 8, 3, False, True)
    shapes = expected_shapes(sizes).items()
    state = {key: torch.rand(shape) + 0.5 if "weight_g" in key else torch.randn(shape) * 0.05 for key, shape in shapes}
    torch.save(state, tmp_path / "N_G.pth", _use_new_zipfile_serialization=zipped)
    run = [sys.executable, "-c", MEASURE, str(tmp_path / "N_G.pth")]
    taken, shape = json.loads(subprocess.run(run, check=True, capture_output=True, text=True).stdout)
    weights_bytes = 4 * sum(value.numel() for value in state.values())
    spec = TowerSpec(image_below="signed")
    assert shape == [1, 3, 128, 128]
    print(f"{taken / weights_bytes:.2f} times the weights, activations included")
    assert taken <= 1.3 * weights_bytes + activation_bytes(spec, 8, 8)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_large_file_is_mapped_and_samples_nearly_the_same(suffix, tmp_path, monkeypatch):
    if suffix == ".pth":
        torch.save(weights("camnet_super_resolution"), tmp_path / "N_G.pth")
    else:
        convert(file("camnet_super_resolution"), tmp_path / "N_G.safetensors")
    path, lq = tmp_path / f"N_G{suffix}", torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(0))
    small = tim.load(path, device="cpu")
    monkeypatch.setattr(tensor_files, "LARGE_BYTES", 1)
    monkeypatch.setattr(folded, "LARGE_BYTES", 1)
    large = tim.load(path, device="cpu")
    assert mapped_bytes(path) == path.stat().st_size
    assert max(largest_differences(large.network, "camnet_super_resolution")) < 1e-5
    differences = (large.sample(lq, n=2).images - small.sample(lq, n=2).images).abs()
    assert differences.max() <= 1 / 255 + 1e-6 and (differences > 0).float().mean() < 0.01
