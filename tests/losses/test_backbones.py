"""Weights of the feature networks: random ones, files, downloads, what they are called, and errors."""

import dataclasses
import socket
import urllib.error
from types import SimpleNamespace

import pytest
import torch

from tim_plugin.losses import backbone_files
from tim_plugin.losses.backbones import BACKBONES, Trunk
from tim_plugin.losses.distance import PerceptualDistance
from tim_plugin.utils.errors import TimError


@pytest.fixture(scope="module", params=BACKBONES)
def backbone(request):
    return request.param


@pytest.fixture(scope="module")
def small():
    """The cheapest perceptual distance."""
    return PerceptualDistance(backbone="alexnet", weights="random")


def images(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def pair(num=3):
    first = images(num, 3, 48, 48)
    return first, (first + 0.2 * images(num, 3, 48, 48, seed=1)).clamp(0, 1)


def test_random_weights_depend_on_the_seed_alone(small):
    torch.manual_seed(7)
    before = torch.get_rng_state()
    same = PerceptualDistance(backbone="alexnet", weights="random")
    other = PerceptualDistance(backbone="alexnet", weights="random", seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    a, b = pair()
    assert torch.equal(same(a, b), small(a, b))
    assert not torch.allclose(other(a, b), small(a, b))


def test_random_features_see_colour_and_detail(backbone):
    """Neither a change of brightness in flat images nor one of texture goes unseen."""
    distance = PerceptualDistance(backbone=backbone, weights="random", calibration="none")
    red = torch.tensor([0.8, 0.2, 0.2]).view(1, 3, 1, 1).expand(1, 3, 32, 32)
    texture = red + 0.2 * (images(1, 1, 32, 32) - 0.5)
    assert distance(red, red.flip(1)) > 0.1
    assert distance(red, texture) > 0.1


@pytest.mark.parametrize(
    "options, name",
    [
        ({"weights": "random", "seed": 4}, "LPIPS heads on alexnet random weights, seed 4"),
        ({"weights": "random", "calibration": "none"}, "alexnet feature distance (random weights, seed 0)"),
        ({"weights": "PATH"}, "LPIPS heads on alexnet weights mine.pth"),
        ({"weights": "PATH", "calibration": "none"}, "alexnet feature distance (mine.pth)"),
        ({"weights": "imagenet"}, "LPIPS (alexnet)"),
        ({"weights": "imagenet", "calibration": "none"}, "alexnet feature distance (ImageNet weights)"),
    ],
)
def test_the_name_says_what_was_used(small, tmp_path, monkeypatch, options, name):
    """Also shows that torchvision's file is taken from the hub folder, with or without prefix and classifier."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    state = small.trunk.layers.state_dict()
    torch.save(state, tmp_path / "mine.pth")
    hub = tmp_path / "hub" / "checkpoints"
    hub.mkdir(parents=True)
    state = {f"features.{key}": value.half() for key, value in state.items()} | {"classifier.1.weight": torch.zeros(2)}
    torch.save(state, hub / "alexnet-owt-7be5be79.pth")
    options = {key: str(tmp_path / "mine.pth") if value == "PATH" else value for key, value in options.items()}
    distance = PerceptualDistance(backbone="alexnet", **options)
    assert distance.name == name
    assert distance(*pair(1)) > 0


@pytest.mark.parametrize("error", [urllib.error.URLError("no route"), TimeoutError("timed out"), RuntimeError("hash")])
def test_missing_imagenet_file_is_one_clear_error(backbone, tmp_path, monkeypatch, error):
    def refuse(*_, **__):
        raise error

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    file = {
        "vgg16": "vgg16-397923af.pth",
        "alexnet": "alexnet-owt-7be5be79.pth",
        "squeezenet1_1": "squeezenet1_1-b8a52dc0.pth",
    }[backbone]
    with pytest.raises(TimError) as caught:
        PerceptualDistance(backbone=backbone)
    for part in (file, str(tmp_path / "hub" / "checkpoints"), "put torchvision's file", "weights: PATH"):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("*.p*"))


def test_a_download_that_hears_nothing_ends_soon_and_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(backbone_files, "SILENCE_S", 0.2)
    for proxy in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts and never answers
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/alexnet-owt-7be5be79.pth"
        facts = dataclasses.replace(BACKBONES["alexnet"], weights=SimpleNamespace(url=url))
        monkeypatch.setitem(BACKBONES, "alexnet", facts)
        with pytest.raises(TimError, match="timed out"):
            PerceptualDistance(backbone="alexnet")
    assert socket.getdefaulttimeout() is None
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"backbone": "vg16"}, r"backbone 'vg16' is not known: did you mean 'vgg16'"),
        ({"calibration": "lpip"}, r"calibration 'lpip' is not known: did you mean 'lpips'"),
        ({"weights": "imagnet"}, r"weights 'imagnet' is neither .* did you mean 'imagenet'"),
        ({"weights": "/no/such/file.pth"}, r"'/no/such/file.pth' is neither imagenet nor random nor a file"),
    ],
)
def test_a_wrong_name_offers_the_nearest(options, message):
    with pytest.raises(TimError, match=message):
        PerceptualDistance(**{"backbone": "alexnet", **options})


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "cannot be read"),
        (b"not a checkpoint", "cannot be read"),
        ([1, 2], "hold a list, not a state dict"),
        ({}, r"10 of 10 keys differ\): features.0.weight is missing; features.0.bias is missing; features.3"),
        (
            {"features.0.weight": torch.zeros(64, 3, 3, 3)},
            r"features.0.weight is \(64, 3, 3, 3\), not \(64, 3, 11, 11\)",
        ),
        ({"state_dict": {}}, "do not fit backbone alexnet"),
    ],
)
def test_a_file_that_does_not_fit_is_named(tmp_path, content, message):
    path = tmp_path / "mine.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(TimError, match=message) as caught:
        PerceptualDistance(backbone="alexnet", weights=str(path))
    assert str(path) in str(caught.value)


def test_a_file_of_another_backbone_does_not_fit(small, tmp_path):
    torch.save(small.trunk.layers.state_dict(), tmp_path / "alexnet.pth")
    with pytest.raises(TimError, match="alexnet.pth do not fit backbone squeezenet1_1"):
        PerceptualDistance(backbone="squeezenet1_1", weights=str(tmp_path / "alexnet.pth"))


def test_a_file_of_the_first_layers_gives_the_maps_that_it_reaches(small, tmp_path):
    path = tmp_path / "first.pth"
    torch.save(
        {key: value for key, value in small.trunk.layers.state_dict().items() if int(key.split(".")[0]) < 6}, path
    )
    first = PerceptualDistance(backbone="alexnet", weights=str(path), calibration="none")
    assert first.name == "alexnet feature distance (first.pth), the first 2 of 5 maps"
    whole = PerceptualDistance(backbone="alexnet", weights="random", calibration="none")
    a, b = pair()
    for found, wanted in zip(first.features(a), whole.features(a)[:2], strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=0)
    assert (first(a, b) < whole(a, b)).all() and (first(a, b) > 0).all()
    with pytest.raises(TimError, match=r"up to the 2\. of 5 maps, .*: use calibration: none"):
        PerceptualDistance(backbone="alexnet", weights=str(path))
    with pytest.raises(TimError, match=r"do not fit backbone alexnet \(6 of 10 keys differ\)"):  # to judge sets by
        Trunk("alexnet", str(path))


def test_a_file_that_lacks_a_layer_in_between_does_not_fit(small, tmp_path):
    path = tmp_path / "gap.pth"
    torch.save({key: value for key, value in small.trunk.layers.state_dict().items() if key[0] != "3"}, path)
    with pytest.raises(TimError, match=r"\(2 of 10 keys differ\): features\.3\.weight is missing"):
        PerceptualDistance(backbone="alexnet", weights=str(path), calibration="none")
