"""An earlier tower of the package, out of the project's history, that the training of its successor goes on from."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import torch

from tim_plugin.archs.tower_arch import TowerGenerator
from tim_plugin.utils.bundled import write_weights
from tim_plugin.utils.checkpoints import load_network
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.writing import write_atomically


class Earlier(NamedTuple):
    """An earlier tower.

    Attributes:
        file: Its weights.
        told: How long it was trained, for the successor's card.
    """

    file: Path
    told: str


def earlier_tower(root: Path, name: str, earlier: str, commit: str, feature_scale: float | None = None) -> Earlier:
    """Return a tower as it was at a commit; its weights are written below ``datasets``.

    Args:
        root: The project's folder, a clone with its history.
        name: Of the tower that goes on.
        earlier: Of the earlier tower.
        commit: Where the package holds the weights and ``docs/models`` their card.
        feature_scale: Of the tower that goes on; None: as in the earlier one. Where they differ, the weights are
            rewritten so that the images stay the same.

    Raises:
        TimError: git is not installed, or the history does not reach that far.
    """
    card = json.loads(_at(root, name, commit, f"docs/models/{earlier}.json"))["conditions"]
    weights = _at(root, name, commit, f"tim_plugin/weights/{earlier}.safetensors")
    file = root / "datasets" / "earlier_towers" / commit / f"{earlier}.safetensors"
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, weights)
    if feature_scale:
        _hand_on(file, feature_scale)
    made_in = f"{card['iterations']} iterations and {card['minutes']} minutes"
    return Earlier(file, f"`{earlier}` of commit {commit}, made in {made_in}")


@torch.no_grad()
def _hand_on(file: Path, feature_scale: float) -> None:
    """Rewrite a file as of a tower of another ``feature_scale``: the next level's weights take up the factor."""
    tower, options = load_network(file, "cpu")
    if tower.spec.feature_scale != feature_scale:
        scale_features(tower, tower.spec.feature_scale / feature_scale)
        write_weights(file, tower.state_dict(), {**options, "feature_scale": feature_scale}, {})


@torch.no_grad()
def scale_features(tower: TowerGenerator, factor: float) -> None:
    """Multiply the weights by which each level of a tower reads the features of the level below."""
    for level, spec in zip(tower.levels, tower.spec.levels, strict=True):
        if spec.feature_channels:  # what a level reads last
            weight = level.conv_first.weight.clone()
            weight[:, -spec.feature_channels :] *= factor
            level.conv_first.weight = weight  # weight normalisation divides it anew


def _at(root: Path, name: str, commit: str, path: str) -> bytes:
    missing = f"--name {name}: goes on from {path} of commit {commit}"
    if shutil.which("git") is None:
        raise TimError(f"{missing}: git is not installed; install it")
    done = subprocess.run(["git", "-C", str(root), "show", f"{commit}:{path}"], capture_output=True)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        raise TimError(f"{missing}, which this folder's history does not hold ({said}); clone the project whole")
    return done.stdout
