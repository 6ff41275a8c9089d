"""Weights that the package holds: what is written is read again, and nothing damaged or edited is."""

from __future__ import annotations

import json

import pytest
import torch

from tim_plugin.utils import bundled
from tim_plugin.utils.bundled import bundle, known, read_bundled, read_weights, write_weights
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.weight_headers import list_towers

STATE = {"a.weight": torch.tensor([[0.1, -2.0], [3e-5, 60000.0]]), "b": torch.arange(3.0)}


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "mine.safetensors"
    write_weights(path, STATE, {"channels": [1, 2]}, {"made": "here"})
    bundle("mine", path, tmp_path / "weights")
    return tmp_path / "weights"


def test_what_is_written_is_read_again_as_float32_of_float16_precision(folder):
    found = read_bundled("mine", folder)
    assert (found.arguments, found.about) == ({"channels": [1, 2]}, {"made": "here"})
    assert set(found.state) == set(STATE)
    for key, value in STATE.items():
        assert found.state[key].dtype == torch.float32
        assert torch.equal(found.state[key], value.half().float())


def test_numbers_take_two_bytes_each(tmp_path):
    write_weights(tmp_path / "w.safetensors", {"a": torch.zeros(10_000)}, {}, {})
    assert 20_000 < (tmp_path / "w.safetensors").stat().st_size < 20_500


def test_the_table_keeps_what_it_had(folder, tmp_path):
    bundle("other", tmp_path / "mine.safetensors", folder)
    assert known(folder) == ("mine", "other")
    assert read_bundled("mine", folder).arguments == read_bundled("other", folder).arguments


def test_an_unknown_name_offers_the_nearest(folder):
    with pytest.raises(TimError, match=r"bundled weights 'mime' are not known: did you mean 'mine'\?"):
        read_bundled("mime", folder)


def truncate(content):
    return content[:-1]


def edit(content):
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize("damage", [truncate, edit])
def test_a_truncated_or_edited_file_is_refused(folder, damage):
    path = folder / "mine.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(
        TimError, match=r"mine.safetensors: truncated or edited: its SHA-256 .* install tim_plugin again"
    ):
        read_bundled("mine", folder)


def test_a_missing_file_is_named(folder):
    (folder / "mine.safetensors").unlink()
    with pytest.raises(TimError, match=r"mine.safetensors: cannot be read"):
        read_bundled("mine", folder)


@pytest.mark.parametrize("change", [(b'"shape":', b'"shapf":'), (b"arguments", b"argumentz"), (b"2,2]", b'2,"x"]')])
def test_a_header_that_is_damaged_is_named(folder, change):
    path = folder / "mine.safetensors"
    path.write_bytes(path.read_bytes().replace(*change))
    with pytest.raises(TimError, match=r"mine.safetensors: its header is damaged \(.*\); install tim_plugin again"):
        list_towers(folder)


@pytest.mark.parametrize("content", [b"", b"no weights", b"\x08\0\0\0\0\0\0\0{}      "])
def test_a_file_that_is_none_of_ours_is_refused(tmp_path, content):
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    with pytest.raises(TimError, match=r"w.safetensors: no safetensors file with .* header, or damaged"):
        read_weights(path)
    with pytest.raises(TimError, match="or damaged"):
        bundle("mine", path, tmp_path / "weights")
    assert not (tmp_path / "weights").exists()


def test_a_number_that_float16_does_not_hold_is_refused(tmp_path):
    with pytest.raises(TimError, match="b holds a number that float16 does not"):
        write_weights(tmp_path / "w.safetensors", {"a": torch.zeros(1), "b": torch.tensor([7e4])}, {}, {})
    assert not list(tmp_path.iterdir())


def test_every_file_of_the_package_is_in_the_table_and_small():
    files = {path.stem: path for path in bundled.FOLDER.glob("*.safetensors")}
    assert set(files) == set(known()) == set(json.loads((bundled.FOLDER / "checksums.json").read_text()))
    for name in files:
        assert read_bundled(name).state
