"""Files of every kind that the program reads, damaged, and given to the function that reads them."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import random
import warnings
import zlib
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from faults.input_kinds import Kind, kinds
from faults.runner import Case, Silent, Unclear
from tim_plugin.utils.errors import TimError

NESTED = b"[" * 100_000
_OF_STATES = 0.3  # of a state dict's damages
VALUES = [None, True, -1, 2.5, 10**400, "", "x" * 1000, [], {}, [[]], {"a": 1}, "\ud800", "../../x", "a\0b"]


def cases(root: Path, count: int, seed: int) -> Iterator[Case]:
    """Yield damaged files; each is a pure function of the seed and its number."""
    with contextlib.redirect_stderr(io.StringIO()):  # progress bars
        made = kinds(root)
    found = [kind for part in range(4) for kind in made if not (kind.is_slow and part)]
    whole: dict[str, str] = {}
    for number in range(count):
        kind, generator = found[number % len(found)], random.Random(f"{seed}-{number}")
        if kind.name not in whole:
            whole[kind.name] = _print_of(_read(kind, root / "whole", kind.content))
        content, what, may_differ = _damage(kind, found, generator)
        label = f"{number} ({kind.name}): {what}"
        is_told = may_differ is None or (kind.is_checked and not may_differ)
        yield Case(label, partial(_run, kind, root / str(number), content, whole[kind.name], is_told))


def _run(kind: Kind, folder: Path, content: bytes, whole: str, is_told: bool) -> str:
    try:
        got = _print_of(_read(kind, folder, content))
    except TimError as error:
        if not any(name in str(error) for name in (kind.called, kind.also_called) if name):
            raise Unclear(f"does not name {kind.called}: {error}") from error
        raise
    if got == whole:
        return "accepted"
    if is_told:
        raise Silent("was accepted, though a checksum, a key or a shape tells that it has changed")
    return "changed"


def _read(kind: Kind, folder: Path, content: bytes) -> Any:
    folder.mkdir(exist_ok=True)
    path = folder / kind.called
    path.write_bytes(content)
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what Pillow tells
                return kind.read(path)
    finally:
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()


def _print_of(value: Any) -> str:
    """Return a digest of what was read.

    Raises:
        Silent: It holds a number that is not finite.
    """
    digest = hashlib.sha256()
    _add(digest, value.state_dict() if isinstance(value, nn.Module) else value)
    return digest.hexdigest()


def _add(digest: Any, value: Any) -> None:
    if isinstance(value, Mapping):
        for key in value:
            _add(digest, str(key))
            _add(digest, value[key])
    elif isinstance(value, (list, tuple)):
        for item in value:
            _add(digest, item)
    elif isinstance(value, (Tensor, np.ndarray)):
        array = np.ascontiguousarray(value.detach().numpy() if isinstance(value, Tensor) else value)
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise Silent("what was read is not finite")
        digest.update(f"{array.shape} {array.dtype}".encode() + array.tobytes())
    else:
        digest.update(repr(value).encode(errors="surrogatepass"))


# damage ---------------------------------------------------------------------------------------------------------------


def _damage(kind: Kind, others: list[Kind], generator: random.Random) -> tuple[bytes, str, bool | None]:
    """Return a changed content, what was done, and whether it may be another whole file; None: certainly not."""
    content = kind.content
    ways = ["bit", "bit", "bits", "cut", "insert", "head", "zero", "remove", "swap", "empty", "other", "tail"]
    if kind.state is not None and generator.random() < _OF_STATES:
        return *_changed_state(kind, generator), None
    way = generator.choice([*ways, *["json"] * 12] if kind.is_json else [*ways, "packed"])
    place = generator.randrange(len(content))
    if way == "bit":
        return _flipped(content, [place], generator), f"a bit of byte {place} of {len(content)} flipped", False
    if way == "bits":
        places = [generator.randrange(len(content)) for _ in range(20)]
        return _flipped(content, places, generator), "20 bits flipped", False
    if way == "cut":
        return content[:place], f"cut at {place} of {len(content)}", kind.is_text
    if way == "insert":
        more = generator.randbytes(generator.choice([1, 2, 7, 1000]))
        return content[:place] + more + content[place:], f"{len(more)} bytes inserted at {place}", False
    if way == "head":
        count = generator.choice([1, 4, 8, 16])
        return generator.randbytes(count) + content[count:], f"first {count} bytes changed", False
    if way == "zero":
        return content[:place] + bytes(len(content) - place), f"zeros from {place} of {len(content)}", False
    if way == "remove":
        count = generator.choice([1, 2, 30])
        return content[:place] + content[place + count :], f"{count} bytes removed at {place}", kind.is_text
    if way == "swap":
        return content[place:] + content[:place], f"turned round at {place}", False
    if way == "tail":
        return content + generator.randbytes(100), "100 bytes behind", False
    if way == "packed":
        return zlib.compress(content), "compressed", False
    if way == "json":
        value = json.loads(content)
        what = _changed_value(value, generator)
        return json.dumps(value).encode(), what, True
    if way == "other":
        other = generator.choice(others)
        return other.content, f"is {other.name}", True
    made = generator.choice([b"", b"\0", b"\xff" * 1000, NESTED, b"\x80\x04.", b"{}", b"PK\5\6" + bytes(18)])
    return made, f"is {made[:8]!r}... of {len(made)}", True


def _flipped(content: bytes, places: list[int], generator: random.Random) -> bytes:
    changed = bytearray(content)
    for place in places:
        changed[place] ^= 1 << generator.randrange(8)
    return bytes(changed)


def _changed_state(kind: Kind, generator: random.Random) -> tuple[bytes, str]:
    """Take a tensor away, or give it another shape, or add one."""
    state = dict(kind.state)
    key, way = generator.choice(list(state)), generator.choice(["without", "cut", "turned", "added"])
    if way == "without" or state[key].dim() == 0:
        del state[key]
    elif way == "added":
        state["more.weight"] = state[key].clone()
    else:
        state[key] = state[key][:-1].contiguous() if way == "cut" else state[key][..., None].contiguous()
    return kind.save(state), f"{key}: {way}"


def _changed_value(value: Any, generator: random.Random) -> str:
    """Change one value of a JSON document in place, or remove it, or double it."""
    places = list(_places(value))
    section, key = generator.choice(places)
    way = generator.choice(["set", "set", "set", "delete", "double", "text"])
    if way == "delete":
        del section[key]
        return f"{key!r} deleted"
    if way == "double" and isinstance(section, list):
        section.append(section[key])
        return f"{key!r} doubled"
    section[key] = str(section[key]) if way == "text" else generator.choice(VALUES)
    return f"{key!r} is {str(section[key])[:40]!r}"


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


torch.set_num_threads(1)
