"""The published networks: option files give them to the layer, and searches work with them and their ablations."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.parity.reference import TASKS, file, weights
from tim_plugin.degradations.base import Observed
from tim_plugin.imle.any_tower import FunctionDistance
from tim_plugin.imle.pyramid import condition_pyramid, target_pyramid
from tim_plugin.imle.search import hierarchical, vanilla
from tim_plugin.options.option_file import read_option_file
from tim_plugin.options.tower_spec import TowerSpec
from tim_plugin.utils.authors_files import Sizes, expected_shapes, network_g_of
from tim_plugin.utils.networks import network_of

ROOT = Path(__file__).resolve().parents[2]
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
