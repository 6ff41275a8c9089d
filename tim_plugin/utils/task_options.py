"""The option files that come with the package, by name: ``sr16x`` is ``train_tim_sr16x.yml``. Loads no torch.

Their one source is the project's ``options/``; a wheel has them as ``tim_plugin/options/tasks`` (see ``setup.py``).
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from tim_plugin.utils.errors import TimError, did_you_mean

PACKAGE = Path(__file__).parents[1]
IN_WHEEL, IN_PROJECT = PACKAGE / "options" / "tasks", PACKAGE.parent / "options"


def option_files(phase: str = "train") -> dict[str, Path]:
    """Return the option files of ``phase`` (``train`` or ``test``) by name: tasks, then compared systems."""
    folder = IN_WHEEL if IN_WHEEL.is_dir() else IN_PROJECT
    files = [*sorted(folder.glob(f"{phase}_*.yml")), *sorted(folder.glob(f"baselines/{phase}_*.yml"))]
    return {re.sub(rf"^{phase}_(tim_)?", "", file.stem): file for file in files}


def find_option_file(given: str | Path, phase: str = "train") -> Path:
    """Return the path of an option file that is given as a path, or by the name that the package has for it.

    Raises:
        TimError: It is neither a file's path (with a suffix or a folder) nor a known name.
    """
    path, files = Path(os.path.expanduser(given)), option_files(phase)  # Path raises for a home that is not known
    if path.suffix or len(path.parts) > 1 or path.is_file():
        return path
    if str(given) not in files:
        raise TimError(
            f"{given}: is neither an option file nor one of the package for phase '{phase}': "
            f"{did_you_mean(str(given), files)}"
        )
    return files[str(given)]
