"""``prepare.json``: the settings and sources of a prepared folder, which a later run compares with its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tim_plugin.utils.errors import TimError
from tim_plugin.utils.images import read_bytes
from tim_plugin.utils.json_files import parse_checked, with_checksum
from tim_plugin.utils.writing import write_atomically

_RECORD = "prepare.json"


def read_record(output: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what each existing pair was made from, by its name; empty if the folder was not prepared before.

    Args:
        output: The prepared folder.
        settings: Of this run.

    Raises:
        TimError: The record is damaged, or has other settings, or an earlier version's, which lack some.
    """
    path, settings = output / _RECORD, json.loads(json.dumps(settings))  # whose tuples are lists
    if not path.exists():
        return {}
    try:
        record = parse_checked(read_bytes(path), {"settings": dict, "sources": {str: [str, int, int]}})
        before, sources = record["settings"], record["sources"]
    except (OSError, ValueError) as error:
        raise TimError(f"{path}: is damaged ({error}); delete it to prepare {output} anew") from error
    unknown = [key for key in settings if key not in before]
    if unknown and len(unknown) < len(settings):
        raise TimError(
            f"-o {output}: was prepared by an earlier version, which did not record {' and '.join(unknown)}: give "
            "another folder, or delete this one first"
        )
    if before != settings:
        raise TimError(
            f"-o {output}: was prepared with {_shown(before)}, not {_shown(settings)}: give another folder, or delete "
            "this one first"
        )
    return sources


def write_record(output: Path, settings: Mapping[str, Any], sources: Mapping[str, Any]) -> None:
    """Write the record, whole or not at all; the folder is made if it does not exist.

    Raises:
        OSError: It cannot be written.
    """
    output.mkdir(parents=True, exist_ok=True)
    content = with_checksum({"settings": dict(settings), "sources": dict(sources)})
    write_atomically(output / _RECORD, json.dumps(content, indent=1).encode())


def _shown(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in settings.items())
