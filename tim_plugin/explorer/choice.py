"""``choice.json``: an answer that was chosen, as a recipe which gives the same pixels again, and the way to it.

The file holds the tree of choices, which tower and input it is for (by their SHA-256), and the input itself if that is
small; it holds no pixels of an answer.
"""

from __future__ import annotations

import base64
import binascii
import json
from codecs import BOM_UTF8
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tim_plugin import __version__
from tim_plugin.explorer.rounds import HIGHEST_SEED, HIGHEST_VARIETY
from tim_plugin.explorer.tree import Answer, Tree
from tim_plugin.inference.record import sha256
from tim_plugin.inference.tower import Tower
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.image_decoding import stored_image
from tim_plugin.utils.image_headers import read_header
from tim_plugin.utils.images import encode_png, read_bytes
from tim_plugin.utils.json_files import NONE, parse_checked, with_checksum
from tim_plugin.utils.names import check_name

FORMAT = "tim choice 1"
LARGEST_INPUT_BYTES = 2**22  # of an input that the file holds
MOST_BYTES = 2**25
MOST_ANSWERS = 2_000
MOST_PIXELS = 2**28  # of all masks together, which are small in a file, however large they are
DEVICES = ("cpu", "cuda", "mps", "xpu")  # kinds on which an answer may have been chosen
_RANGES = {"seed": HIGHEST_SEED, "number": HIGHEST_SEED, "temperature": HIGHEST_VARIETY}
_ANSWER = {
    "id": int,
    "parent": (int, NONE),
    "kept": int,
    "seed": int,
    "number": int,
    "temperature": float,
    "mask": (int, NONE),
}
_INPUT = {"name": str, "file": str, "sha256": str, "content?": (str, NONE)}
_SHAPE = {
    "format": str,
    "tim_plugin": str,
    "model": {"name": str, "sha256": (str, NONE), "levels": int},
    "device": str,
    "input": _INPUT,
    "size": [int, int],
    "answers": [_ANSWER],
    "masks": [str],
    "chosen": int,
}


class Choice(NamedTuple):
    """What ``choice.json`` says.

    Attributes:
        model: The tower, by name or path.
        model_sha256: Of its file; None: it was in memory.
        device: That computed.
        name: Of the input, by which latents are drawn.
        file: The input's file, without its folder.
        input_sha256: Of its content.
        content: The input, if the file holds it.
        size: Height and width of an answer.
        tree: The chosen answer, those that it was made from, and others that were looked into.
        chosen: Number in the tree.
    """

    model: str
    model_sha256: str | None
    device: str
    name: str
    file: str
    input_sha256: str
    content: bytes | None
    size: tuple[int, int]
    tree: Tree
    chosen: int

    def encoded(self) -> bytes:
        """Return the file's content."""
        tree = self.tree
        held = None if self.content is None or len(self.content) > LARGEST_INPUT_BYTES else _to_text(self.content)
        record = {
            "format": FORMAT,
            "tim_plugin": __version__,
            "model": {"name": self.model, "sha256": self.model_sha256, "levels": tree.num_levels},
            "device": self.device,
            "input": {"name": self.name, "file": self.file, "sha256": self.input_sha256, "content": held},
            "size": list(self.size),
            "answers": [{"id": number, **answer._asdict()} for number, answer in tree.answers.items()],
            "masks": [_to_text(encode_png(mask[None].float())) for mask in tree.masks],
            "chosen": self.chosen,
        }
        return (json.dumps(with_checksum(record), indent=2) + "\n").encode()

    def require_tower(self, tower: Tower, where: str) -> None:
        """Raise TimError unless a tower is the one that the choice was made with; ``where`` names the file."""
        same = tower.name == self.model if self.model_sha256 is None else tower.sha256 == self.model_sha256
        if same and tower.num_levels == self.tree.num_levels:
            return
        raise TimError(
            f"{where}: was made with a tower {self.model} of another content (SHA-256 {str(self.model_sha256)[:12]}...)"
            f" than {tower.name}: give the file that it was made with by -m"
        )

    def require_size(self, size: tuple[int, int], where: str) -> None:
        """Raise TimError unless the answers have the ``size`` (H, W) that the tower gives of the input."""
        if tuple(size) != tuple(self.size):
            raise TimError(
                f"{where}: was changed since it was saved: its answers are {self.size[1]}x{self.size[0]}, and the "
                f"tower makes {size[1]}x{size[0]} of its input"
            )

    def input_content(self, given: bytes | None, where: str) -> bytes:
        """Return the input's content: that which is given, or else that which the file holds.

        Raises:
            TimError: It is another one than the choice was made for, or there is none.
        """
        content = self.content if given is None else given
        if content is None:
            raise TimError(f"{where}: does not hold its input, for its size: give the image {self.file} too")
        if sha256(content) != self.input_sha256:
            raise TimError(
                f"{where}: was made for another image than the one that is given: it needs {self.file}, with the "
                f"SHA-256 {self.input_sha256[:12]}..."
            )
        return content


def is_json(name: str, content: bytes) -> bool:
    """Tell whether an uploaded file is meant to be a ``choice.json``, and no picture."""
    start = content[:100].removeprefix(BOM_UTF8).lstrip()
    return name.lower().endswith(".json") or start[:1] in (b"{", b"[")


def read_choice(content: bytes, where: str) -> Choice:
    """Read ``choice.json``.

    Args:
        content: Of the file.
        where: Names it in errors.

    Raises:
        TimError: It is none, is damaged or was edited, or what it says cannot be.
    """
    if len(content) > MOST_BYTES:
        raise TimError(f"{where}: is larger than any choice.json ({MOST_BYTES >> 20} MiB)")
    try:
        _require_object(content)
        found = parse_checked(content, _SHAPE)
        if found["device"] not in DEVICES:
            raise ValueError(f"device: is {found['device'][:30]!r}, not one of {', '.join(DEVICES)}")
        if found["format"] != FORMAT:
            raise ValueError(f"its format is {found['format'][:30]!r}, and this version reads {FORMAT!r}")
        check_name("its input's name", found["input"]["name"])
        size = tuple(found["size"])
        tree, names = _tree(found, size)
        if found["chosen"] not in names:
            raise ValueError(f"there is no answer {found['chosen']}, which it calls the chosen one")
        held = found["input"].get("content")
        held = None if held is None else _from_text(held)
    except ValueError as error:  # also TimError
        raise TimError(f"{where}: is no choice.json of tim explore, or was changed since: {error}") from error
    model, source = found["model"], found["input"]
    about = (model["name"], model["sha256"], found["device"], source["name"], source["file"], source["sha256"])
    return Choice(*about, held, size, tree, names[found["chosen"]])


def _require_object(content: bytes) -> None:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError("it cannot be read as JSON: it is cut off, or another kind of file") from error
    if not isinstance(value, dict):
        raise ValueError(f"it begins with a {'list' if isinstance(value, list) else 'single value'}, not with {{")


def _tree(found: Mapping[str, Any], size: tuple[int, int]) -> tuple[Tree, dict[int, int]]:
    tree, names = Tree(found["model"]["levels"]), {}
    num_masks, named = len(found["masks"]), {entry["mask"] for entry in found["answers"]}
    if num_masks and num_masks * size[0] * size[1] > MOST_PIXELS:  # said before one is decoded
        raise ValueError(
            f"its masks, {num_masks} of {size[1]}x{size[0]}, have more than {MOST_PIXELS >> 20} million pixels together"
        )
    for number in range(num_masks):
        if number not in named:
            raise ValueError(f"no answer names mask {number}")
    if not 1 <= len(found["answers"]) <= MOST_ANSWERS:
        raise ValueError(f"it has {len(found['answers'])} answers, not 1 to {MOST_ANSWERS}")
    tree.masks = [read_mask(_from_text(text), size) for text in found["masks"]]
    for entry in found["answers"]:
        answer = Answer(**{key: value for key, value in entry.items() if key in Answer._fields})
        for key, most in _RANGES.items():
            if not 0 <= entry[key] <= most:
                told = f"{entry[key]}"[:30]
                raise ValueError(f"answers: {key} of answer {entry['id']} is {told}, not from 0 to {most}")
        if answer.parent is not None and answer.parent not in names:
            raise ValueError(f"there is no answer {answer.parent} before {entry['id']}, which is made from it")
        parent = None if answer.parent is None else names[answer.parent]
        names[entry["id"]] = tree.add(answer._replace(parent=parent))
    return tree, names


def read_mask(content: bytes, size: tuple[int, int]) -> Tensor:
    """Return the bool mask (H, W) of a picture: where it is opaque and bright.

    Raises:
        TimError: It is no picture, or not of the ``size`` (H, W).
    """
    header = read_header(content, "the mask")
    if (header.height, header.width) != tuple(size):
        raise TimError(f"the mask is {header.width}x{header.height}, the picture {size[1]}x{size[0]}")
    pixels = stored_image(content, "the mask").convert("RGBA")
    planes = [pixels.convert("L"), pixels.getchannel("A")]
    light, opacity = (torch.frombuffer(bytearray(plane.tobytes()), dtype=torch.uint8) for plane in planes)
    return ((light > 127) & (opacity > 127)).view(*size)


def read_choice_file(path: Path) -> Choice:
    """Read ``choice.json``; an input that it does not hold is looked for beside it.

    Raises:
        TimError: See :func:`read_choice`; or it cannot be read.
    """
    choice = read_choice(read_bytes(path), str(path))
    beside = path.parent / Path(choice.file).name
    if choice.content is None and beside.is_file():
        return choice._replace(content=read_bytes(beside))
    return choice


def _to_text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _from_text(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"what it holds is no base64 ({error})") from error
