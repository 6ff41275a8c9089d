"""The newest state that is intact, with all that belongs to it, is resumed; those that are not are named."""

from __future__ import annotations

import pytest
import torch

from tim_plugin.utils.errors import TimError
from tim_plugin.utils.training_states import newest_intact

STATE = {"epoch": 0, "optimizers": [], "schedulers": []}


@pytest.fixture
def folder(tmp_path):
    """States of two processes, and networks, of the iterations 8, 9 and 10."""
    for iteration in (8, 9, 10):
        state = {**STATE, "iter": iteration, "processes": 2, "weight": torch.rand(1000)}
        torch.save(state, tmp_path / f"{iteration}.state")
        torch.save({"epoch": 0, "iter": iteration, "pool": torch.rand(1000)}, tmp_path / f"{iteration}.rank1.state")
        torch.save({"params": {"a": torch.rand(1000)}}, tmp_path / f"net_g_{iteration}.pth")
    (tmp_path / "notes.state").write_text("not a state")
    return tmp_path


def cut(path):
    path.write_bytes(path.read_bytes()[:500])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def found(folder):
    path, state = newest_intact(folder, folder, ["net_g"])
    assert path == folder / f"{state['iter']}.state"
    return state["iter"]


def test_the_newest_one_is_taken_in_silence(folder, capsys):
    assert found(folder) == 10 and capsys.readouterr() == ("", "")
    assert newest_intact(folder / "none", folder, ["net_g"]) is None


@pytest.mark.parametrize("damage", [cut, flip, lambda path: path.write_bytes(b"")])
@pytest.mark.parametrize("name", ["10.state", "10.rank1.state", "net_g_10.pth"])
def test_a_damaged_one_is_passed_over_and_named(folder, damage, name, capsys):
    damage(folder / name)
    assert found(folder) == 9
    said = capsys.readouterr().err
    assert said.startswith(f"warning: --auto_resume goes on from {folder / '9.state'}, since a newer state ")
    assert str(folder / name) in said and said.count("\n") == 1


def test_one_without_its_network_is_passed_over(folder, capsys):
    (folder / "net_g_10.pth").unlink()
    cut(folder / "9.state")
    assert found(folder) == 8
    said = capsys.readouterr().err
    assert "net_g_10.pth: there is no such checkpoint" in said and "9.state cannot be read" in said


def test_one_that_lacks_the_state_of_a_process_is_passed_over(folder, capsys):
    """A run that was killed while its processes saved, one after the other."""
    (folder / "10.rank1.state").unlink()
    assert found(folder) == 9 and "10.rank1.state" in capsys.readouterr().err


def test_where_none_is_intact_the_run_does_not_begin_anew(folder):
    for iteration in (8, 9, 10):
        cut(folder / f"net_g_{iteration}.pth")
    with pytest.raises(TimError, match="none of its 3 training states can be resumed; the newest: .*net_g_10.pth: can"):
        newest_intact(folder, folder, ["net_g"])
    assert newest_intact(folder, folder, [])[1]["iter"] == 10
