"""Files of the method's authors: their outputs at every level, what is guessed of them, and what is refused by name.

``tests/parity`` holds networks of the public code (random weights, reduced widths) with inputs, codes and outputs.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import tim_plugin as tim
from tim_plugin.archs.tower_arch import TowerGenerator
from tim_plugin.cli.main import main
from tim_plugin.imle.latents import Latents, LevelLatent
from tim_plugin.imle.types import Condition
from tim_plugin.inference.files import sample_files
from tim_plugin.utils.authors_files import without_prefix
from tim_plugin.utils.checkpoints import load_into, parameters_of, read_checkpoint
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.images import round_to_8_bit, write_png

FILES = Path(__file__).resolve().parents[1] / "parity"
TASKS = {
    "camnet_colorization": "colorization",
    "camnet_decompression": "decompression",
    "camnet_image_synthesis": "layouts",
    "camnet_super_resolution": "super_resolution",
    "chimle_colourization": "colorization",
    "chimle_generic": "generic",
    "chimle_super_resolution": "super_resolution",
    "hyperrim_decompression": "decompression",
}


def file(name: str) -> Path:
    return FILES / f"{name}.safetensors"


def weights(name: str) -> dict[str, torch.Tensor]:
    return without_prefix({key: value.clone() for key, value in load_file(file(name)).items()})


def largest_differences(network: torch.nn.Module, name: str) -> list[float]:
    """Run what the authors' network ran on, and compare the image of each level."""
    kept, facts = load_file(file(name)), json.loads((FILES / f"{name}.json").read_text())
    style, levels = network.spec.style_dim, range(1, network.spec.num_levels + 1)
    codes = [kept[f"code.{k}"].clone() for k in levels]
    noise = [
        code[:, style:].unflatten(1, (-1, *size)) for code, size in zip(codes, facts["reading_sizes_hw"], strict=True)
    ]
    latents = Latents([LevelLatent(one, code[:, :style]) for one, code in zip(noise, codes, strict=True)])
    conditions = [Condition(kept[f"input.{k}"].clone() if f"input.{k}" in kept else None) for k in levels]
    with torch.no_grad():
        images = network(conditions, latents)
    wanted = [kept[f"rgb.{k}" if f"rgb.{k}" in kept else f"output.{k}"] for k in levels]
    return [(a.clamp(0, 1) - b.clamp(0, 1)).abs().max().item() for a, b in zip(images, wanted, strict=True)]


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
    assert torch.equal(tower.sample(lq, n=2, seed=7, name="thumb").images, round_to_8_bit(wanted))
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
