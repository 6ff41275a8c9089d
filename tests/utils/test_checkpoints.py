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
