"""The Hugging Face Hub's form of a tower, by the real package and on local folders; nothing is uploaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import tim_plugin as tim
from tim_plugin.inference.towers import towers
from tim_plugin.utils.errors import TimError

huggingface_hub = pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def tower(tiny_tower, tiny_network):
    return tim.Tower(tiny_tower(consistency="project"), "mine", {**tiny_network, "consistency": "project"})


@pytest.fixture
def image():
    return torch.rand(3, 5, 6, generator=torch.Generator().manual_seed(0)) * 0.4 + 0.3


def test_a_round_trip_gives_the_same_samples_to_the_bit(tower, image, tmp_path):
    folder = tower.save_pretrained(tmp_path / "folder", license="apache-2.0")
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    again = tim.Tower.from_pretrained(folder, device="cpu")
    assert type(again) is tim.Tower and again.options == json.loads((folder / "config.json").read_text())["network_g"]
    assert torch.equal(again.sample(image, n=2, seed=3).images, tower.sample(image, n=2, seed=3).images)
    of_file = tim.load(folder / "model.safetensors", device="cpu")  # the header rebuilds it too
    assert torch.equal(of_file.sample(image, n=2, seed=3).images, tower.sample(image, n=2, seed=3).images)


def test_the_folder_is_what_the_hubs_own_mixin_reads(tower, tmp_path):
    folder = tower.save_pretrained(tmp_path / "folder")
    card = huggingface_hub.ModelCard.load(folder / "README.md")
    assert card.data.library_name == "tim_plugin" and card.data.pipeline_tag == "image-to-image"
    assert {"tim_plugin", "sr16x", "pytorch_model_hub_mixin"} <= set(card.data.tags)
    assert card.data.license is None and "arxiv.org/abs/2011.01926" in card.text
    state = load_file(folder / "model.safetensors")
    assert state.keys() == tower.network.state_dict().keys()


def test_the_card_of_a_tower_of_the_package_says_its_terms(tmp_path):
    tower = tim.load("mnist-pca", device="cpu")
    card = huggingface_hub.ModelCard.load(tower.save_pretrained(tmp_path / "folder") / "README.md")
    assert card.data.license == "cc-by-sa-3.0" and "MNIST's 60,000 training digits" in card.text
    digit = torch.rand(1, 32, 32, generator=torch.Generator().manual_seed(0))
    again = tim.Tower.from_pretrained(tmp_path / "folder", device="cpu")  # its PCA basis went through JSON
    assert torch.equal(again.sample(digit, n=2).images, tower.sample(digit, n=2).images)


def test_the_packages_terms_are_those_of_the_guides_cards():
    cards = json.loads((ROOT / "tim_plugin" / "integrations" / "cards.json").read_text())
    assert set(cards) == set(towers())
    for name, card in cards.items():
        conditions = json.loads((ROOT / "docs" / "models" / f"{name}.json").read_text())["conditions"]
        assert {key: conditions[key] for key in ("terms", "trained_on")} == {
            key: card[key] for key in ("terms", "trained_on")
        }


def test_a_second_saving_keeps_a_card_that_was_edited(tower, tmp_path):
    folder = tower.save_pretrained(tmp_path / "folder")
    (folder / "README.md").write_text("mine")
    tower.save_pretrained(folder)
    assert (folder / "README.md").read_text() == "mine" and len(list(folder.iterdir())) == 3


def break_config(folder):
    (folder / "config.json").write_text("{")


def break_weights(folder):
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-100])


def change_config(folder):
    config = json.loads((folder / "config.json").read_text())
    config["network_g"]["num_levels"] = 3
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (break_config, "config.json: is no tower's, or damaged"),
        (break_weights, "model.safetensors: cannot be read as a checkpoint"),
        (change_config, "describe two networks: take both from one"),
        (lambda folder: (folder / "config.json").write_text("[]"), "config.json: is no tower's, or damaged"),
        (lambda folder: (folder / "config.json").unlink(), "has no config.json"),
        (lambda folder: (folder / "model.safetensors").unlink(), "has no model.safetensors"),
    ],
)
def test_a_broken_folder_is_one_sentence(tower, tmp_path, damage, message):
    folder = tower.save_pretrained(tmp_path / "folder")
    damage(folder)
    with pytest.raises(TimError, match=message) as raised:
        tim.Tower.from_pretrained(folder, device="cpu")
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"type": "NoSuchNetwork"}, "config.json: network_g cannot be built: .*NoSuchNetwork"),
        ({"type": "TowerGenerator", "num_lvls": 3}, "network_g cannot be built: .*num_lvls"),
        ({"type": "TowerGenerator", "num_levels": "x"}, "config.json: network_g cannot be built: .*num_levels .* 'x'"),
        (
            {"type": "RRDBNet", "num_in_ch": 3, "num_out_ch": 3, "num_feat": "x"},
            "config.json: network_g cannot be built",
        ),
        ({"type": "BicubicUpsampler", "scale": 4}, "network_g is a BicubicUpsampler, and not a tower"),
    ],
)
def test_a_config_of_another_network_is_refused(tower, tmp_path, section, message):
    from safetensors.torch import save_file

    folder = tower.save_pretrained(tmp_path / "folder")
    save_file(load_file(folder / "model.safetensors"), folder / "model.safetensors")  # without our header
    (folder / "config.json").write_text(json.dumps({"network_g": section}))
    with pytest.raises(TimError, match=message):
        tim.Tower.from_pretrained(folder, device="cpu")


def test_a_pickle_beside_is_not_read(tower, tmp_path):
    folder = tower.save_pretrained(tmp_path / "folder")
    (folder / "model.safetensors").unlink()
    torch.save(tower.network.state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(TimError, match=r"has no model.safetensors"):
        tim.Tower.from_pretrained(folder, device="cpu")


def test_what_is_neither_folder_nor_repository_is_one_sentence(tmp_path):
    with pytest.raises(TimError, match="^no/such/thing: is no folder, and cannot be had from the Hugging Face") as e:
        tim.Tower.from_pretrained("no/such/thing", device="cpu")
    assert len(str(e.value).splitlines()) == 1
    with pytest.raises(TimError, match="^me/mine: is no folder, and cannot be had"):
        tim.Tower.from_pretrained("me/mine", device="cpu", local_files_only=True, cache_dir=tmp_path)


def test_a_repository_is_read_from_the_hubs_cache(tower, image, tmp_path):
    """As a download leaves it there; a revision is a branch, a tag or a commit."""
    commit, repository = "0123456789abcdef0123456789abcdef01234567", tmp_path / "models--me--mine"
    tower.save_pretrained(repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "v1").write_text(commit)
    given = {"device": "cpu", "local_files_only": True, "cache_dir": tmp_path}
    again = tim.Tower.from_pretrained("me/mine", revision="v1", **given)
    assert again.name == "me/mine" and torch.equal(again.sample(image, n=2).images, tower.sample(image, n=2).images)
    with pytest.raises(TimError, match="^me/mine: is no folder, and cannot be had"):
        tim.Tower.from_pretrained("me/mine", revision="v2", **given)


def test_a_tower_without_options_cannot_be_saved_and_says_so(tiny_tower, tmp_path):
    with pytest.raises(TimError, match="without the options that rebuild it"):
        tim.Tower(tiny_tower()).save_pretrained(tmp_path / "folder")


def test_a_folder_that_cannot_be_written_is_one_sentence(tower, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TimError, match="file: cannot be written"):
        tower.save_pretrained(tmp_path / "file")


def test_an_upload_that_is_refused_is_one_sentence(tower):
    with pytest.raises(TimError, match="^no name!: cannot be uploaded to the Hugging Face Hub: ") as raised:
        tower.push_to_hub("no name!")
    assert len(str(raised.value).splitlines()) == 1
