"""Wherever weights are taken as .pth, a .safetensors file of the same is taken and gives the same."""

from __future__ import annotations

import json

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from tim_plugin.degradations.pca import PrincipalComponents
from tim_plugin.losses.distance import PerceptualDistance
from tim_plugin.metrics.feature_extractors import build_extractor


@pytest.fixture(scope="module")
def squeezenet(tmp_path_factory):
    """SqueezeNet's weights in both forms, by suffix."""
    folder = tmp_path_factory.mktemp("squeezenet")
    torch.manual_seed(0)
    state = torchvision.models.squeezenet1_1().state_dict()
    torch.save(state, folder / "mine.pth")
    save_file(state, folder / "mine.safetensors")
    return {suffix: str(folder / f"mine.{suffix}") for suffix in ("pth", "safetensors")}


def test_of_a_distances_backbone(squeezenet):
    a, b = torch.rand(2, 2, 3, 32, 32, generator=torch.Generator().manual_seed(0)).unbind()
    both = [PerceptualDistance("squeezenet1_1", weights=file, calibration="none") for file in squeezenet.values()]
    assert torch.equal(*(distance(a, b) for distance in both)) and both[0](a, b).min() > 0


def test_of_a_feature_extractor(squeezenet):
    first, second = (build_extractor(file) for file in squeezenet.values())
    assert first.digest == second.digest and first.frechet == second.frechet == "frechet_squeezenet"


def test_of_a_basis_of_principal_components(tmp_path):
    generator = torch.Generator().manual_seed(0)
    components = torch.linalg.qr(torch.randn(1024, 10, generator=generator)).Q.T.contiguous()
    known = PrincipalComponents(torch.rand(1024, generator=generator), components)
    section = {"type": "TowerGenerator", "degradation": {"type": "pca", **known.portable()}}
    torch.save({"params": {"a": torch.zeros(1)}, "network_g": section}, tmp_path / "net.pth")
    lists = {key: value.tolist() for key, value in known.portable()["basis"].items()}
    arguments = {"type": "TowerGenerator", "degradation": {"type": "pca", "basis": lists}}
    header = {"arguments": json.dumps(arguments), "about": json.dumps({"what": "a basis"})}
    save_file({"a": torch.zeros(1)}, tmp_path / "net.safetensors", header)
    for name in ("net.pth", "net.safetensors"):
        found = PrincipalComponents.from_options(str(tmp_path / name))
        torch.testing.assert_close(found.components, known.components)
        torch.testing.assert_close(found.mean, known.mean)
