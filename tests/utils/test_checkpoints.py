"""Checkpoints that are damaged, or that would do more than hold weights, are refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tim_plugin.utils.checkpoints import load_network, read_checkpoint, read_state
from tim_plugin.utils.errors import TimError


@pytest.mark.parametrize("content", [b"", b"garbage" * 100])
def test_a_damaged_checkpoint_is_named(tmp_path, content):
    (tmp_path / "net.pth").write_bytes(content)
    with pytest.raises(TimError, match="net.pth: cannot be read as a checkpoint"):
        load_network(tmp_path / "net.pth")


STATE = {"epoch": 0, "iter": 1, "schedulers": []}


@pytest.mark.parametrize(
    ("read", "content", "message"),
    [
        (read_checkpoint, {"params": {"a": torch.arange(1000.0)}}, "net.pth: cannot be read"),
        (read_state, {**STATE, "optimizers": [{"a": torch.arange(1000.0)}]}, "resume_state: .* cannot be read"),
    ],
)
def test_a_flipped_bit_is_found(tmp_path, read, content, message):
    """torch reads what is wrong with its checksum; a run would go on from weights that nobody trained."""
    path = tmp_path / "net.pth"
    torch.save(content, path)
    assert set(read(path)) == set(content)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4  # within the tensor, which is most of the file
    path.write_bytes(content)
    with pytest.raises(TimError, match=message):
        read(path)


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"params": Evil()}, tmp_path / "net.pth")
    with pytest.raises(TimError, match="more than tensors"):
        read_checkpoint(tmp_path / "net.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("network_g", "said"),
    [
        (
            {"type": "MyNet"},
            "neither BasicSR nor this package has a network 'MyNet': .* import what registers it first",
        ),
        ({"type": [3]}, "neither BasicSR nor this package has a network .3."),
        ({}, "neither BasicSR nor this package has a network None"),
        ({"type": "RRDBNet", "num_in_ch": 3, "num_out_ch": 3, "foo": 3}, "RRDBNet: .*'foo'"),
        ({"type": "RRDBNet"}, "RRDBNet: missing .*'num_in_ch'"),
        ({"type": "RRDBNet", "num_in_ch": 3, "num_out_ch": 3, "num_feat": "x"}, "RRDBNet: "),
        ({"type": "TowerGenerator", "foo": 3}, "TowerGenerator: .*'foo'"),
        (
            {"type": "TowerGenerator", "num_levels": "x"},
            "TowerGenerator: num_levels is the text 'x', a number is needed",
        ),
    ],
)
def test_a_network_that_cannot_be_built_is_named(network_g, said, tmp_path):
    torch.save({"params": {"w": torch.zeros(1)}, "network_g": network_g}, tmp_path / "a.pth")
    with pytest.raises(TimError, match=rf"a\.pth: network_g cannot be built: {said}"):
        load_network(tmp_path / "a.pth")


def test_parameters_without_names_are_refused(tmp_path):
    torch.save({1: torch.zeros(1)}, tmp_path / "a.pth")
    with pytest.raises(TimError, match=r"a\.pth: has no parameters: .*found the keys \[1\]"):
        load_network(tmp_path / "a.pth")
