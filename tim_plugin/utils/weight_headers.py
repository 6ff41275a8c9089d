"""What the header of a safetensors file of the package says, read without torch and without the weights."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

from tim_plugin.utils.errors import TimError
from tim_plugin.utils.json_files import parse_json

FOLDER = Path(__file__).parents[1] / "weights"
CHECKSUMS = "checksums.json"
SUFFIX = ".safetensors"
HEADER_SIZE = 8  # bytes in front of the header, which hold its length
TOWER = "TowerGenerator"


class TowerFacts(NamedTuple):
    """How many parameters a tower has, what it does in one sentence, and its ``network_g`` section."""

    num_parameters: int
    what: str
    arguments: dict[str, Any]


def read_header(path: Path) -> dict[str, Any]:
    """Return the header of a safetensors file.

    Raises:
        TimError: It cannot be read, or is none.
    """
    try:
        with path.open("rb") as file:
            return parse_json(file.read(int.from_bytes(file.read(HEADER_SIZE), "little")), dict)
    except OSError as error:
        raise TimError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, OverflowError, MemoryError) as error:
        raise TimError(f"{path}: is no safetensors file, or damaged; install tim_plugin again") from error


def read_checksums(folder: Path = FOLDER) -> dict[str, str]:
    """Return the SHA-256 of each file of a folder of weights, by its name.

    Raises:
        TimError: Their table cannot be read.
    """
    path = folder / CHECKSUMS
    try:
        return parse_json(path.read_bytes(), {str: str})
    except (OSError, ValueError) as error:
        raise TimError(f"{path}: is gone or damaged ({error}); install tim_plugin again") from error


def list_towers(folder: Path = FOLDER) -> dict[str, TowerFacts]:
    """Return the towers that lie in a folder of weights, by name, sorted.

    Raises:
        TimError: A file cannot be read.
    """
    facts = {name: _facts(folder / f"{name}{SUFFIX}") for name in sorted(read_checksums(folder))}
    return {name: one for name, one in facts.items() if one.arguments.get("type") == TOWER}


def _facts(path: Path) -> TowerFacts:
    header = read_header(path)
    try:
        arguments, about = (parse_json(header["__metadata__"][key], dict) for key in ("arguments", "about"))
        shapes = [entry["shape"] for name, entry in header.items() if name != "__metadata__"]
        return TowerFacts(sum(math.prod(shape) for shape in shapes), str(about.get("what", "")), arguments)
    except (ValueError, LookupError, TypeError) as error:
        raise TimError(f"{path}: its header is damaged ({error}); install tim_plugin again") from error


def described(folder: Path = FOLDER) -> str:
    """Return a line for each tower: its name, its size and what it does."""
    return "\n".join(
        f"{name:<20} {facts.num_parameters / 1e6:.2f} M parameters  {facts.what}"
        for name, facts in list_towers(folder).items()
    )
