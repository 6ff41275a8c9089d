"""Towers in the form of the Hugging Face Hub: a folder with ``config.json``, ``model.safetensors`` and a card.

The weights' file is one of ours: its header holds the network's arguments too, so that ``tim sample -m
model.safetensors`` takes it.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData, PyTorchModelHubMixin, snapshot_download
from safetensors.torch import save as safetensors_of
from torch import Tensor

from tim_plugin import __version__
from tim_plugin.inference.arguments import arguments_named
from tim_plugin.inference.devices import choose_device
from tim_plugin.inference.tower import Tower
from tim_plugin.integrations import model_card
from tim_plugin.utils.checkpoints import load_into, parameters_of, plain, read_checkpoint
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.json_files import parse_json
from tim_plugin.utils.networks import network_of

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
SHAPE = {"network_g": {"type": str}}


class HubTower(PyTorchModelHubMixin, Tower):
    """A tower with the methods of ``huggingface_hub.PyTorchModelHubMixin``, which writes and uploads the folder.

    Args:
        network: See :class:`tim_plugin.Tower`; so are ``name``, ``options`` and ``file``.
        name: What the card is headed with.
        options: What rebuilds the network.
        file: That its weights are from, if any.
        license: Of the weights, for the card.
    """

    def __init__(
        self,
        network: Any,
        name: str,
        options: Mapping[str, Any],
        file: Path | None = None,
        license: str | None = None,
    ) -> None:
        Tower.__init__(self, network, name, options, file)
        self.license = license
        portable = network.portable() if hasattr(network, "portable") else {}
        section = plain({**self.options, **portable}, Tensor.tolist)
        self._hub_mixin_config = {"network_g": section, "tim_plugin": __version__}

    def _save_pretrained(self, save_directory: Path) -> None:
        """Write the weights, as the mixin asks for."""
        state = {key: value.detach().cpu().contiguous() for key, value in self.network.state_dict().items()}
        header = {"arguments": self._hub_mixin_config["network_g"], "about": {"what": self.name}}
        (save_directory / WEIGHTS).write_bytes(
            safetensors_of(state, {key: json.dumps(value) for key, value in header.items()})
        )

    @classmethod
    def _from_pretrained(
        cls, *, model_id: str, config: Mapping[str, Any] | None = None, device: str | None = None, **_: Any
    ) -> HubTower:
        """Build the tower of a folder, as the mixin asks for."""
        folder = Path(model_id)
        options, weights = _options_of(folder), folder / WEIGHTS
        checkpoint = read_checkpoint(weights)
        if checkpoint.get("network_g", options) != options:
            raise TimError(f"{folder}: {CONFIG} and the header of {WEIGHTS} describe two networks: take both from one")
        network = network_of(options, path=folder / CONFIG)
        if not hasattr(network, "forward_level"):
            raise TimError(f"{folder / CONFIG}: network_g is a {options['type']}, and not a tower")
        load_into(network, parameters_of(checkpoint, weights, network=network), weights)
        with arguments_named():
            network = network.requires_grad_(False).to(choose_device(device))
        return cls(network, str(folder), options, weights)

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """Return the card, with the mixin's tags and ours."""
        found = model_card.metadata(self, self.license)
        found["tags"] = sorted({*found["tags"], *(self._hub_mixin_info.model_card_data.tags or [])})
        return ModelCard(f"---\n{ModelCardData(**found).to_yaml()}\n---\n\n{model_card.text(self)}")


def read(folder_or_repo: str | Path, device: str | None, download: Mapping[str, Any]) -> Tower:
    """Do :meth:`tim_plugin.Tower.from_pretrained`."""
    folder = Path(folder_or_repo).expanduser()
    if not folder.is_dir():
        with _one_sentence(f"{folder_or_repo}: is no folder, and cannot be had from the Hugging Face Hub"):
            found = snapshot_download(str(folder_or_repo), allow_patterns=[CONFIG, WEIGHTS], **download)
        folder = Path(found)
    _options_of(folder)  # says what is wrong with the file that the mixin reads
    found = HubTower.from_pretrained(folder, device=device)
    return Tower(found.network, str(folder_or_repo), found.options, found.file)  # whose methods are ours


def save(tower: Tower, folder: Path, license: str | None) -> Path:
    """Do :meth:`tim_plugin.Tower.save_pretrained`: each file is written whole or not at all."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            _on_hub(tower, license).save_pretrained(temporary)
            for name in (WEIGHTS, CONFIG, CARD):
                if name != CARD or not (folder / CARD).exists():
                    os.replace(Path(temporary) / name, folder / name)
    except OSError as error:
        raise TimError(f"{folder}: cannot be written: {error.strerror or error}") from error
    return folder


def push(tower: Tower, repo_id: str, license: str | None, upload: Mapping[str, Any]) -> str:
    """Do :meth:`tim_plugin.Tower.push_to_hub`."""
    ours = _on_hub(tower, license)
    with _one_sentence(f"{repo_id}: cannot be uploaded to the Hugging Face Hub"):
        return str(ours.push_to_hub(repo_id, **upload))


def _on_hub(tower: Tower, license: str | None) -> HubTower:
    if "type" not in tower.options:
        raise TimError(
            f"{tower.name}: was made without the options that rebuild it: give them, as Tower(network, options=section)"
        )
    return HubTower(tower.network, tower.name, tower.options, tower.file, license)


def _options_of(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise TimError(f"{folder}: has no {name}; a tower's folder, which save_pretrained writes, has it")
    try:
        return parse_json(path.read_bytes(), SHAPE)["network_g"]
    except (OSError, ValueError) as error:
        raise TimError(f"{path}: is no tower's, or damaged ({error}): save the tower again") from error


@contextmanager
def _one_sentence(what: str) -> Iterator[None]:
    """Errors of the Hub's client, which has a dozen kinds of several ancestors, are TimErrors of one line."""
    try:
        yield
    except Exception as error:
        first = str(error).strip().splitlines() or [type(error).__name__]
        raise TimError(f"{what}: {first[0]}") from error
