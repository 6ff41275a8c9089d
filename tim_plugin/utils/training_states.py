"""The newest training state that can be resumed: a damaged one is passed over for the one before, and named."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tim_plugin.utils.checkpoints import read_checkpoint, read_state
from tim_plugin.utils.errors import TimError


def numbered_states(folder: Path) -> list[Path]:
    """Return ``N.state`` of a folder, the newest first."""
    states = [path for path in folder.glob("*.state") if path.stem.isdecimal()]
    return sorted(states, key=lambda path: int(path.stem), reverse=True)


def name_of_rank(name: str, rank: int) -> str:
    """Return the file name of a process's own state, which lies beside the training state of all."""
    return f"{Path(name).stem}.rank{rank}.state"


def newest_intact(
    folder: Path, models: Path, networks: Iterable[str], says: bool = True
) -> tuple[Path, dict[str, Any]] | None:
    """Return the newest state that is intact, as are its processes' own states and its networks, and its content.

    Args:
        folder: Of the states.
        models: Of the networks.
        networks: As their files are called: ``net_g``.
        says: Whether the damaged ones are named on stderr, with what is taken in their place.

    Returns:
        None where there is no state at all.

    Raises:
        TimError: There are states, and none is intact.
    """
    damaged: list[str] = []
    for path in numbered_states(folder):
        try:
            state = read_state(path)
            for rank in range(1, state.get("processes", 1)):
                read_state(path.with_name(name_of_rank(path.name, rank)), ("epoch", "iter"))
            for name in networks:
                read_checkpoint(models / f"{name}_{state['iter']}.pth")
        except TimError as error:
            damaged.append(str(error))
            continue
        for problem in damaged if says else ():
            said = f"--auto_resume goes on from {path}, since a newer state cannot be used: {problem}"
            print(f"warning: {said}", file=sys.stderr, flush=True)
        return path, state
    if damaged:
        raise TimError(
            f"--auto_resume: {folder}: none of its {len(damaged)} training states can be resumed; the newest: "
            f"{damaged[0]}; without --auto_resume the run starts at iteration 0, and this folder is kept under another "
            "name"
        )
    return None
