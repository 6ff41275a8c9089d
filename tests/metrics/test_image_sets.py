"""Distances between sets equal torch-fidelity's own, called directly."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
import torch
import torch_fidelity
import torchvision
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from tim_plugin.metrics import feature_extractors, image_sets
from tim_plugin.metrics.feature_cache import cached_features
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.images import read_image


@pytest.fixture(scope="module")
def squeezenet(tmp_path_factory):
    """torchvision's SqueezeNet with random weights, as a file."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "squeezenet.pth"
    torch.save(torchvision.models.squeezenet1_1(weights=None).state_dict(), path)
    return path


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(24, 3, 64, 64, generator=generator)
    return torch.cat([noise[:12], (noise[12:] * 0.5 + 0.3)]).mul(255).round() / 255


def dataset(images):
    """What torch-fidelity takes: uint8 images by index, of a class that its worker processes can import."""
    return torch.utils.data.Subset((images * 255).round().to(torch.uint8), range(len(images)))


def of(extractor, images):
    features = image_sets.FeatureSet(extractor)
    for part in images.split(5):
        features.take(features.compute(part))
    return features


def test_measures_equal_torch_fidelity(squeezenet, images):
    extractor = feature_extractors.build_extractor(str(squeezenet))
    first, second = of(extractor, images[:12]), of(extractor, images[12:])
    kid = image_sets.kernel_distance(first, second)
    direct = torch_fidelity.calculate_metrics(
        input1=dataset(images[:12]),
        input2=dataset(images[12:]),
        feature_extractor=feature_extractors.SQUEEZENET,
        feature_extractor_weights_path=str(squeezenet),
        fid=True,
        kid=True,
        prc=True,
        kid_subset_size=12,
        cuda=False,
        verbose=False,
        cache=False,
    )
    frechet = image_sets.frechet_distance(first, second)
    assert frechet == pytest.approx(direct["frechet_inception_distance"], rel=1e-3)
    assert kid["mean"] == pytest.approx(direct["kernel_inception_distance_mean"], rel=1e-3)
    assert kid["std"] == pytest.approx(direct["kernel_inception_distance_std"], rel=1e-2, abs=1e-7)
    prc = image_sets.precision_recall(first, second)
    assert (prc["precision"], prc["recall"]) == (direct["precision"], direct["recall"])
    assert (extractor.frechet, extractor.kid) == ("frechet_squeezenet", "kid_squeezenet")


def test_statistics_are_those_of_numpy_and_equal_sets_are_at_distance_0(squeezenet, images):
    one = of(feature_extractors.build_extractor(str(squeezenet)), images)
    features = one.features().numpy().astype(np.float64)
    assert features.shape == (24, 512)
    np.testing.assert_allclose(one.statistics()["mu"], features.mean(axis=0), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(one.statistics()["sigma"], np.cov(features, rowvar=False), rtol=1e-6, atol=1e-9)
    assert abs(image_sets.frechet_distance(one, one)) < 1e-3 * np.trace(one.statistics()["sigma"])
    assert image_sets.precision_recall(one, one)["recall"] == 1


def test_inception_is_torch_fidelitys_and_called_fid(tmp_path, monkeypatch, images):
    torch.manual_seed(0)
    monkeypatch.setattr("torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url", lambda *a, **k: {})
    monkeypatch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda self, state, **kwargs: None)
    untrained = FeatureExtractorInceptionV3("x", ["2048"])
    path = tmp_path / "inception.pth"
    torch.save(untrained.state_dict(), path)
    monkeypatch.undo()
    extractor = feature_extractors.build_extractor(str(path))
    assert (extractor.frechet, extractor.kid) == ("fid", "kid")
    features = image_sets.FeatureSet(extractor).compute(images[:1])
    with torch.no_grad():
        (direct,) = untrained((images[:1] * 255).round().to(torch.uint8))
    np.testing.assert_allclose(features, direct.numpy(), rtol=1e-5)


def test_missing_and_foreign_weights_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(TimError, match=r"weights-inception-2015-12-05-\w+.pth is not in .* squeezenet gives frechet"):
        feature_extractors.build_extractor("inception")
    with pytest.raises(
        TimError, match="--feature-extractor incepton: is neither inception nor squeezenet nor efficient"
    ):
        feature_extractors.build_extractor("incepton")
    with pytest.raises(TimError, match="^features inception: .* put torch-fidelity's file of that name there$"):
        feature_extractors.build_extractor("inception", "features", ())
    with pytest.raises(TimError, match="^--features no.pth: is neither imagenet nor a file that is there"):
        feature_extractors.build_extractor("no.pth", "--features", ("imagenet",))
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(TimError, match="other.pth: is the state dict of neither"):
        feature_extractors.build_extractor(str(tmp_path / "other.pth"))
    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"features.0.weight": json.JSONDecoder}))
    with pytest.raises(TimError, match="evil.pth: cannot be read: damaged, or more than a state dict"):
        feature_extractors.build_extractor(str(tmp_path / "evil.pth"))


def test_too_few_images_are_an_error(squeezenet, images):
    extractor = feature_extractors.build_extractor(str(squeezenet))
    one, three = of(extractor, images[:1]), of(extractor, images[:3])
    for call in (image_sets.frechet_distance, image_sets.kernel_distance):
        with pytest.raises(TimError, match="at least 2 images in each, not 1"):
            call(one, three)
    with pytest.raises(TimError, match="more than 3 images in each set, not 3"):
        image_sets.precision_recall(three, three)


def test_cached_features_are_taken_for_the_same_image_only(squeezenet, photos, tmp_path, monkeypatch):
    features = image_sets.FeatureSet(feature_extractors.build_extractor(str(squeezenet)))
    first, second = (read_image(path).rgb for path in sorted(photos.iterdir())[:2])
    made = {name: cached_features(features, gt, tmp_path / "cache") for name, gt in (("a", first), ("b", second))}
    computed = []
    monkeypatch.setattr(features, "compute", lambda images: computed.append(images) or made["b"])
    np.testing.assert_array_equal(cached_features(features, first, tmp_path / "cache"), made["a"])
    assert computed == [] and not np.array_equal(made["a"], made["b"])
    cached_features(features, first.flip(-1), tmp_path / "cache")
    assert len(computed) == 1
    kept = next((tmp_path / "cache").iterdir())
    content = kept.read_bytes()
    flipped = content[: len(content) // 2] + bytes([content[len(content) // 2] ^ 1]) + content[len(content) // 2 + 1 :]
    for damaged in (b"nothing", b"", content[:-100], flipped):
        kept.write_bytes(damaged)
        with pytest.raises(TimError, match="damaged: remove it"):
            for gt in (first, second, first.flip(-1)):
                cached_features(features, gt, tmp_path / "cache")
