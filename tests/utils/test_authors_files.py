"""Files of the method's authors: their outputs at every level, what is guessed of them, and what is refused by name.

``tests/parity`` holds networks of the public code (random weights, reduced widths) with inputs, codes and outputs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import tim_plugin as tim
from tim_plugin.archs.tower_arch import TowerGenerator
from tim_plugin.cli.main import main
from tim_plugin.degradations.base import Observed
from tim_plugin.imle.any_tower import FunctionDistance
from tim_plugin.imle.latents import Latents, LevelLatent
from tim_plugin.imle.pyramid import condition_pyramid, target_pyramid
from tim_plugin.imle.search import hierarchical, vanilla
from tim_plugin.imle.types import Condition
from tim_plugin.inference.files import sample_files
from tim_plugin.inference.memory_use import activation_bytes
from tim_plugin.options.option_file import read_option_file
from tim_plugin.options.tower_spec import TowerSpec
from tim_plugin.utils.authors_files import Sizes, expected_shapes, network_g_of, without_prefix
from tim_plugin.utils.checkpoints import load_into, network_of, parameters_of, read_checkpoint
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.images import round_to_8_bit, write_png

ROOT = Path(__file__).resolve().parents[2]
FILES = ROOT / "tests" / "parity"
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
    """Run what the authors' network ran on, and compare the image of each level, relatively where it is beyond 1."""
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
    return [((a - b).abs() / b.abs().clamp_min(1)).max().item() for a, b in zip(images, wanted, strict=True)]


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


PUBLISHED = {  # option file: channels of input, noise and head; parameters
    "sr16x": ("super_resolution", 3, 5, 3, 209_050_072),
    "sr16x_chimle": ("super_resolution", 3, 5, 3, 210_622_936),
    "colorization": ("colorization", 1, 5, 2, 209_041_424),
    "decompression": ("decompression", 3, 5, 3, 208_976_088),
    "layout_gta": ("layouts", 20, 10, 3, 221_543_838),
}


@pytest.mark.parametrize("option_file", PUBLISHED)
def test_the_option_files_are_the_published_networks_to_the_layer(option_file):
    task, inputs, noise, outputs, parameters = PUBLISHED[option_file]
    more = (64,) if task == "layouts" else ()
    sizes = Sizes(
        trunk=(128, 64, 64, 64, *more),
        growth=(256, 192, 128, 64, *more),
        blocks=6,
        style=128,
        width=512,
        layers=8,
        inputs=inputs + noise,
        outputs=outputs,
        sees_below="chimle" in option_file,
        enlarges=task != "colorization",
    )
    theirs = {key: torch.empty(shape, device="meta") for key, shape in expected_shapes(sizes).items()}
    section = dict(read_option_file(ROOT / "options" / f"train_tim_{option_file}.yml")["network_g"])
    found = network_g_of(theirs, "N_G.pth", task)
    assert TowerSpec(**without_type(section)) == TowerSpec(**without_type(found))
    unused = 2 * (64 * 64 * 9 + 2 * 64) if task == "decompression" else 0  # behind the last level's trunk
    assert sum(map(torch.Tensor.numel, theirs.values())) == parameters + unused

    network = network_of({**section, "num_blocks": 1}, without_weights=True)  # all blocks of a level are alike
    shapes = expected_shapes(sizes._replace(blocks=1)).items()
    renamed = network.renamed({key: torch.empty(shape, device="meta") for key, shape in shapes})
    ours = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    assert {key: tuple(value.shape) for key, value in renamed.items()} == ours


def without_type(section):
    return {key: value for key, value in section.items() if key != "type"}


@pytest.mark.parametrize("ablation", [{}, {"mapping": False}, {"weight_norm": False}])
@pytest.mark.parametrize(
    "name", ["camnet_super_resolution", "camnet_colorization", "chimle_generic", "camnet_image_synthesis"]
)
def test_searches_choose_the_nearest_of_the_authors_networks(name, ablation):
    section = network_g_of(weights(name), file(name), TASKS[name]) | ablation
    if not section.get("mapping", True):
        section["mapping_sees_below"] = False
    network = network_of({**section, "num_blocks": 1, "growth_channels": 3})
    generator = torch.Generator().manual_seed(0)
    side = 2 ** (network.spec.num_levels - (network.spec.placement == "same")) * 2
    lq_side = side // network.spec.scale
    lq = torch.rand(2, network.spec.num_in_ch, lq_side, lq_side, generator=generator)
    conditions = condition_pyramid(Observed(lq), network.spec, network.degradation)
    targets = target_pyramid(torch.rand(2, 3, side, side, generator=generator), network.spec.num_levels)
    distance = FunctionDistance(lambda a, b: (a - b).square().flatten(1).mean(dim=1))
    for search in (hierarchical, vanilla):
        few, many = (
            search(network, distance, conditions, targets, [m] * len(targets), torch.Generator().manual_seed(1), 2)
            for m in (1, 5)
        )
        with torch.no_grad():
            images = network(conditions, many.latents)
        found = torch.stack([distance.distance(a, b) for a, b in zip(images, targets, strict=True)], dim=1)
        assert torch.allclose(found, many.distances, atol=1e-5)
        compared = slice(1) if search is hierarchical else slice(None)  # a nearer level may lead to a farther next one
        assert (many.distances[:, compared].sum(dim=1) <= few.distances[:, compared].sum(dim=1)).all()


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
