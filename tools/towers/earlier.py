"""An earlier tower of the package, out of the project's history, that the training of its successor goes on from."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

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


def earlier_tower(root: Path, name: str, earlier: str, commit: str) -> Earlier:
    """Return a tower as it was at a commit; its weights are written below ``datasets``.

    Args:
        root: The project's folder, a clone with its history.
        name: Of the tower that goes on.
        earlier: Of the earlier tower.
        commit: Where the package holds the weights and ``docs/models`` their card.

    Raises:
        TimError: git is not installed, or the history does not reach that far.
    """
    card = json.loads(_at(root, name, commit, f"docs/models/{earlier}.json"))["conditions"]
    weights = _at(root, name, commit, f"tim_plugin/weights/{earlier}.safetensors")
    file = root / "datasets" / "earlier_towers" / commit / f"{earlier}.safetensors"
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, weights)
    made_in = f"{card['iterations']} iterations and {card['minutes']} minutes"
    return Earlier(file, f"`{earlier}` of commit {commit}, made in {made_in}")


def _at(root: Path, name: str, commit: str, path: str) -> bytes:
    missing = f"--name {name}: goes on from {path} of commit {commit}"
    if shutil.which("git") is None:
        raise TimError(f"{missing}: git is not installed; install it")
    done = subprocess.run(["git", "-C", str(root), "show", f"{commit}:{path}"], capture_output=True)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        raise TimError(f"{missing}, which this folder's history does not hold ({said}); clone the project whole")
    return done.stdout
