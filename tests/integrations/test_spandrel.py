"""Towers by spandrel's own loader."""

from __future__ import annotations

import pytest
import torch

import tim_plugin as tim
from tim_plugin.inference.towers import path_of
from tim_plugin.utils.checkpoints import save_atomically
from tim_plugin.utils.errors import TimError

spandrel = pytest.importorskip("spandrel", reason="spandrel is not installed")

from tim_plugin.spandrel import ARGUMENTS, install  # noqa: E402  needs spandrel


@pytest.fixture
def load():
    install()
    return spandrel.ModelLoader().load_from_file


@pytest.fixture
def image():
    return torch.rand(1, 3, 8, 9, generator=torch.Generator().manual_seed(0)) * 0.4 + 0.3


@pytest.mark.parametrize(
    ("name", "purpose", "scale"),
    [("sr4x-small", "SR", 4), ("sr16x-small", "SR", 16), ("colorize-small", "Restoration", 1)],
)
def test_a_tower_of_the_package_is_loaded_and_gives_its_own_samples(load, image, name, purpose, scale):
    descriptor, tower = load(path_of(name)), tim.load(name, device="cpu")
    assert (descriptor.purpose, descriptor.scale, descriptor.input_channels, descriptor.output_channels) == (
        purpose,
        scale,
        3,
        3,
    )
    assert descriptor.tiling is spandrel.ModelTiling.INTERNAL and descriptor.architecture.id == "TowerImplicitModel"
    of_seed = {seed: tower.sample(image[0], n=2, seed=seed).images for seed in (0, 5)}
    assert torch.equal(descriptor(image), of_seed[0][:1])
    assert torch.equal(descriptor(image), descriptor(image))
    assert torch.equal(descriptor(image, seed=5, sample=1), of_seed[5][1:])
    descriptor.seed, descriptor.sample = 5, 1
    assert torch.equal(descriptor(image), of_seed[5][1:])


def test_a_checkpoint_of_a_training_is_loaded_with_its_ema_weights(load, image, tiny_tower, tiny_network, tmp_path):
    tower = tiny_tower(consistency="project")
    ema = {key: value * 1.01 for key, value in tower.state_dict().items()}
    network_g = {**tiny_network, "consistency": "project"}
    save_atomically({"params": tower.state_dict(), "params_ema": ema, "network_g": network_g}, tmp_path / "net.pth")
    ours = tim.load(tmp_path / "net.pth", device="cpu").sample(image[0], n=1).images
    assert torch.equal(load(tmp_path / "net.pth")(image), ours)


def test_install_sets_seed_and_sample_of_what_is_loaded_later(image):
    install(seed=3, sample=2)
    try:
        descriptor = spandrel.ModelLoader().load_from_file(path_of("sr4x-small"))
    finally:
        install()
    expected = tim.load("sr4x-small", device="cpu").sample(image[0], n=3, seed=3).images[2:]
    assert torch.equal(descriptor(image), expected)


def test_other_architectures_are_loaded_as_before(load, tmp_path):
    from spandrel.architectures.Compact import Compact

    net = Compact(num_feat=4, num_conv=1, upscale=2)
    torch.save(net.state_dict(), tmp_path / "compact.pth")
    assert load(tmp_path / "compact.pth").architecture.id == "Compact"
    state = spandrel.ModelLoader().load_state_dict_from_file(tmp_path / "compact.pth")
    assert ARGUMENTS not in state and state.keys() == net.state_dict().keys()


@pytest.mark.parametrize("name", ["mnist-pca", "decompress-small", "layout-camvid-small"])
def test_a_tower_whose_inputs_are_no_pictures_says_so(load, name):
    with pytest.raises(TimError, match="spandrel's are pictures: use tim_plugin.load"):
        load(path_of(name))


def test_an_image_of_another_shape_is_one_sentence(load):
    with pytest.raises(TimError, match=r"a tensor of shape \(3, 8, 9\): give \(1, 3, H, W\)"):
        load(path_of("sr4x-small"))(torch.zeros(3, 8, 9))
