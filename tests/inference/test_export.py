"""A tower as a file for other programs gives what torch gives, at sizes other than the traced one."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from tim_plugin.cli.main import main
from tim_plugin.degradations.base import Observed
from tim_plugin.degradations.bicubic import _inverse_by_cosines
from tim_plugin.imle.latents import Latents
from tim_plugin.imle.pyramid import condition_pyramid
from tim_plugin.inference.engines import is_installed
from tim_plugin.inference.export import export
from tim_plugin.inference.towers import open_network
from tim_plugin.utils.checkpoints import save_atomically
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.resize import bicubic_matrix

needs_onnxruntime = pytest.mark.skipif(not is_installed("onnxruntime"), reason="needs onnxruntime and onnx")
needs_openvino = pytest.mark.skipif(
    not (is_installed("openvino") and is_installed("onnxruntime")), reason="needs onnxruntime, openvino and onnx"
)

SAME = {"placement": "same"}
GREY = {"degradation": "lightness", "num_in_ch": 1}
LABELS = {"degradation": {"type": "labels", "palette": "camvid"}, "num_in_ch": 12}


def exported(capsys, *arguments):
    """Run the command; return its exit status and what it said."""
    try:
        main([str(part) for part in arguments], "export")
    except SystemExit as left:
        return left.code, capsys.readouterr().err
    return 0, capsys.readouterr().out


def inputs_of(network, count, height, width):
    coarsest = (height, width)
    if network.spec.keeps_size:
        coarsest = height // network.spec.gt_multiple, width // network.spec.gt_multiple
    generator = torch.Generator().manual_seed(1)
    latents = Latents.draw(network.latent_shapes(*coarsest), count, generator)
    lq = torch.rand(count, network.spec.num_in_ch, height, width, generator=generator)
    feeds = {"lq": lq.numpy()}
    for k, level in enumerate(latents):
        feeds |= {f"noise_{k}": level.noise.numpy(), f"style_{k}": level.style.numpy()}
    return lq, latents, feeds


@needs_onnxruntime
@pytest.mark.parametrize(
    ("changes", "sizes"),
    [
        ({"consistency": "project"}, [(1, 4, 7), (8, 9, 3), (1, 2, 2)]),
        ({"consistency": "project", "fade_contrast": 0.2}, [(1, 4, 7), (8, 9, 3), (1, 2, 2)]),
        ({"condition_every_level": True}, [(2, 3, 4)]),
        ({**SAME, **GREY, "consistency": "project", "head": "ab"}, [(1, 10, 6), (3, 4, 16)]),
        ({**SAME, **LABELS}, [(1, 8, 6)]),
        ({**SAME, "degradation": {**LABELS["degradation"], "cells": "nearest"}, "num_in_ch": 12}, [(1, 8, 6)]),
        ({**SAME, "degradation": "jpeg"}, [(2, 16, 32)]),
    ],
)
def test_a_graph_gives_what_torch_gives(changes, sizes, tmp_path, capsys, tiny_tower, tiny_network):
    import onnxruntime

    changes, file = {"num_levels": 2, **changes}, tmp_path / "made" / "tower.onnx"
    network = tiny_tower(**changes).eval()
    save_atomically({"params": network.state_dict(), "network_g": {**tiny_network, **changes}}, tmp_path / "net.pth")
    flags = ["--with-projection"] if "consistency" in changes else []
    status, said = exported(capsys, tmp_path / "net.pth", "-o", file, *flags)
    assert status == 0 and str(file) in said
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    assert json.loads(session.get_modelmeta().custom_metadata_map["arguments"])["type"] == "TowerGenerator"
    for size in sizes:
        lq, latents, feeds = inputs_of(network, *size)
        with torch.no_grad():
            expected = network(condition_pyramid(Observed(lq), network.spec, network.degradation), latents)[-1]
        (found,) = session.run(["image"], feeds)
        assert np.abs(found - expected.numpy()).max() < 1e-4, size


@needs_onnxruntime
@pytest.mark.parametrize(
    ("contrast", "lacking"), [(0.0, "the projection is"), (0.1, "the projection and fade_contrast are")]
)
def test_it_is_said_what_is_left_out(contrast, lacking, tmp_path, capsys, tiny_tower, tiny_network):
    changes = {"consistency": "project", "fade_contrast": contrast}
    state = tiny_tower(**changes).state_dict()
    save_atomically({"params": state, "network_g": {**tiny_network, **changes}}, tmp_path / "net.pth")
    status, said = exported(capsys, tmp_path / "net.pth", "-o", tmp_path / "tower.onnx")
    assert status == 0 and f"; {lacking} left out" in said, said


@needs_openvino
def test_openvino_s_file_gives_what_torch_gives(tmp_path, capsys, checkpoint):
    import openvino

    assert exported(capsys, checkpoint, "-o", tmp_path / "tower.xml", "--with-projection")[0] == 0
    assert {path.name for path in tmp_path.glob("tower.*")} == {"tower.xml", "tower.bin"}
    network = open_network(checkpoint).network
    lq, latents, feeds = inputs_of(network, 2, 3, 5)
    with torch.no_grad():
        expected = network(condition_pyramid(Observed(lq), network.spec, network.degradation), latents)[-1]
    compiled = openvino.Core().compile_model(tmp_path / "tower.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    assert np.abs(compiled(feeds)["image"] - expected.numpy()).max() < 1e-4


def test_safetensors_rebuild_the_network(tmp_path, capsys, checkpoint):
    for model in (checkpoint, "mnist-pca"):
        assert exported(capsys, model, "-o", tmp_path / "tower.safetensors")[0] == 0
        network, again = (open_network(one).network for one in (model, tmp_path / "tower.safetensors"))
        assert again.spec.num_levels == network.spec.num_levels
        assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sr16x-small", "-o", "t.pth"], "its suffix says no format"),
        (["sr16x-small", "-o", "t.onnx", "--to", "onx"], "did you mean 'onnx'"),
        (["sr16x-small", "-o", "t.onnx", "--to", "openvino"], "give a name with that suffix"),
        (["sr16x-small", "-o", "t.safetensors", "--with-projection"], "holds weights only"),
    ],
)
def test_mistakes_are_one_sentence(arguments, said, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, told = exported(capsys, *arguments)
    assert status == 2 and said in told and told.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@needs_onnxruntime
@pytest.mark.parametrize(
    ("model", "said"), [("decompress-small", "needs y, cb, cr"), ("layout-camvid-small", "projects nothing")]
)
def test_a_projection_that_no_graph_can_hold_is_refused(model, said, tmp_path, capsys):
    status, told = exported(capsys, model, "-o", tmp_path / "t.onnx", "--with-projection")
    assert status == 2 and said in told and list(tmp_path.iterdir()) == []


@pytest.mark.skipif(is_installed("onnxruntime"), reason="onnxruntime and onnx are installed")
def test_what_is_not_installed_is_named(tmp_path, capsys):
    status, told = exported(capsys, "sr16x-small", "-o", tmp_path / "t.onnx")
    assert status == 2 and "pip install 'tim_plugin[export]'" in told


@pytest.mark.parametrize(("low", "high"), [(1, 16), (2, 32), (7, 28), (40, 640)])
def test_the_inverse_by_cosines_is_the_inverse(low, high):
    matrix = bicubic_matrix(high, low)
    square = matrix @ matrix.T
    torch.testing.assert_close(_inverse_by_cosines(square, low) @ square, torch.eye(low, dtype=torch.float64))


@pytest.mark.parametrize("output", ["/proc/x.safetensors", "file/x.safetensors"])
def test_a_file_that_cannot_be_written_is_named(output, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(TimError, match=f"^-o {output}: cannot be written: "):
        export("sr4x-small", output)
