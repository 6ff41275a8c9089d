"""Training runs that are made once: named by the hash of their options and data, resumed where they stopped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from paper.run_conditions import MACHINE, machine
from tim_plugin.models.pipeline import Observer, train_pipeline
from tim_plugin.options.option_file import read_with_overrides
from tim_plugin.options.plain_checks import section_of
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.writing import write_json

OF_FILES = ("dataroot_gt", "dataroot_lq", "weights", "pretrain_network_g")
NOT_HASHED = ("name", "logger", "path")  # what changes no weight, but for the path of those to begin with
RECORD = "options.json"
ORIGIN = ".origin.json"  # in a folder of images that were made of others; hidden: it is no image that is left out


def trained_checkpoint(
    option_file: Path, overrides: Mapping[str, Any], label: str, root: Path, on_step: Observer | None = None
) -> Path:
    """Return the checkpoint of a training run, training it first if that was not done to its end.

    Args:
        option_file: Of the run.
        overrides: Options that replace the file's, as ``--force_yml`` names them.
        label: For people; the run is ``experiments/LABEL_HASH`` below ``root``.
        root: The project's folder.
        on_step: Called after each step with the iteration and its log.

    Raises:
        TimError: An option is wrong, or the run's record is of other options.
    """
    folder, options = _place(option_file, overrides, label, root)
    if not (folder / RECORD).is_file():  # it is written when training has come to its end
        _, argv = read_with_overrides(option_file, {**overrides, "name": folder.name})
        made_by = machine(root, "cuda" if options.get("num_gpu") else "cpu")
        train_pipeline(str(root), [*_resume(folder), *argv], on_step)
        write_json(folder / MACHINE, made_by)
        write_json(folder / RECORD, options)
    return _checked(folder, options)


def _resume(folder: Path) -> list[str]:
    states = folder / "training_states"
    return ["--auto_resume"] if states.is_dir() and any(states.iterdir()) else []


def finished_checkpoint(option_file: Path, overrides: Mapping[str, Any], label: str, root: Path) -> Path | None:
    """Return the checkpoint of a run that has come to its end, or None.

    Args:
        option_file: Of the run.
        overrides: Options that replace the file's.
        label: For people; part of the run's name.
        root: The project's folder.

    Raises:
        TimError: An option is wrong, or the run's record is of other options.
    """
    folder, options = _place(option_file, overrides, label, root)
    return _checked(folder, options) if (folder / RECORD).is_file() else None


def _place(option_file: Path, overrides: Mapping[str, Any], label: str, root: Path) -> tuple[Path, dict[str, Any]]:
    """The run's folder, and the options that it is named by."""
    name, options = _named(option_file, overrides, label)
    return root / "experiments" / name, options


def run_name(option_file: Path, overrides: Mapping[str, Any], label: str) -> str:
    """Return the name of a run's folder, LABEL_HASH, of the options that it is made with.

    Raises:
        TimError: An option is wrong.
    """
    return _named(option_file, overrides, label)[0]


def _named(option_file: Path, overrides: Mapping[str, Any], label: str) -> tuple[str, dict[str, Any]]:
    opt, _ = read_with_overrides(option_file, overrides)
    hashed = {key: value for key, value in opt.items() if key not in NOT_HASHED}
    start = section_of(opt, "path").get("pretrain_network_g")
    if start:
        hashed["path"] = {"pretrain_network_g": start}
    options = _by_content(json.loads(json.dumps(hashed)))
    digest = hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()[:10]
    return f"{label}_{digest}", options


def checkpoint_of(folder: Path) -> Path:
    """Return where a run's last checkpoint is, below its folder."""
    return folder / "models" / "net_g_latest.pth"


def _checked(folder: Path, options: Mapping[str, Any]) -> Path:
    checkpoint = checkpoint_of(folder)
    if json.loads((folder / RECORD).read_text()) != options or not checkpoint.is_file():
        raise TimError(f"{folder}: holds a run of other options, or no checkpoint: remove it, and it is trained again")
    return checkpoint


def _by_content(options: Any) -> Any:
    """Put what data and weights are in place of where they are, so that a run's name is the same everywhere."""
    if isinstance(options, dict):
        return {
            key: content_of(Path(value)) if key in OF_FILES and Path(str(value)).exists() else _by_content(value)
            for key, value in options.items()
        }
    return [_by_content(one) for one in options] if isinstance(options, list) else options


def write_origin(folder: Path, made: str, *of: Path) -> None:
    """Note what a folder's images were made of, beside what is noted of others that were put into the same folder.

    Two machines may round a pixel otherwise, or compress it so: what was made of the same images in the same way counts
    as the same (:func:`content_of`), so that a run has the same name on each of them.

    Args:
        folder: Of the images that were made.
        made: How.
        of: Folders that they were made of.
    """
    path, origin = folder / ORIGIN, " ".join([made, *map(content_of, of)])
    noted = json.loads(path.read_text()) if path.is_file() else []
    if origin not in noted:
        write_json(path, sorted([*noted, origin]))


def content_of(path: Path) -> str:
    """Return a digest of a file, or of a folder's files with their names; of one with a note, of names and note."""
    digest = hashlib.sha256()
    made = (path / ORIGIN).is_file()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            digest.update(f"{file.relative_to(path) if path.is_dir() else ''}\0".encode())
            if not made or file.name == ORIGIN:
                digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def kept_json(folder: Path, name: str, key: Mapping[str, Any], measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what was measured before and kept in a folder, or measure and keep it.

    Args:
        folder: Mostly that of a run.
        name: The file is NAME_DIGEST.json.
        key: All that the measure depends on; the digest is of it.
        measure: Gives what JSON can hold.
    """
    file = kept_file(folder, name, key)
    if not file.is_file():
        write_json(file, measure())
    return json.loads(file.read_text())


def kept_file(folder: Path, name: str, key: Mapping[str, Any]) -> Path:
    """Return where :func:`kept_json` keeps what was measured."""
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    return folder / f"{name}_{digest}.json"
