"""JSON that a program has to rely on: read only if it has the shape that we write."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from typing import Any

NONE = type(None)
LARGEST = sys.float_info.max
_CHECKSUM = "checksum"


def parse_json(content: str | bytes, shape: Any) -> Any:
    """Parse JSON and compare it with a shape.

    Args:
        content: The file's.
        shape: A type or several in a tuple (``int`` is no ``bool``, ``float`` takes whole numbers too);
            ``{"key": shape}`` for an object that has these keys and maybe others, ``{"key?": shape}`` if the key may be
            missing; ``{str: shape}`` for one of any keys; ``[shape]`` for a list, ``[shape, shape, ...]`` for one of
            that length.

    Raises:
        ValueError: It is no JSON, holds NaN or infinity, or has another shape; the message says where.
    """
    try:
        value = json.loads(content, parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error
    _compare(value, shape, "")
    return value


def with_checksum(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record with its checksum, for :func:`parse_checked`."""
    return {**content, _CHECKSUM: _checksum(json.loads(json.dumps(content)))}  # keys as they are read: text


def parse_checked(content: str | bytes, shape: Mapping[str, Any]) -> dict[str, Any]:
    """Parse a record that was written :func:`with_checksum`, or before records had one.

    Args:
        content: The file's.
        shape: As for :func:`parse_json`; names all keys.

    Raises:
        ValueError: As :func:`parse_json`; or it has changed since it was written, or holds an unknown key.
    """
    value = parse_json(content, {**shape, f"{_CHECKSUM}?": str})
    checksum = value.pop(_CHECKSUM, None)
    unknown = next((key for key in value if key not in shape), None)
    if unknown is not None:
        raise ValueError(f"{json.dumps(unknown)[:30]} is no key of it")
    if checksum not in (None, _checksum(value)):
        raise ValueError("its checksum is another")
    return value


def _checksum(content: Any) -> str:
    return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=8).hexdigest()


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number")


def _compare(value: Any, shape: Any, where: str) -> None:
    if isinstance(shape, Mapping):
        _require(value, dict, where)
        if str in shape:
            shape = dict.fromkeys(value, shape[str])
        for key, inner in shape.items():
            name = key.removesuffix("?")
            if name in value or name == key:
                if name not in value:
                    raise ValueError(f"{where or 'it'}: has no '{name}'")
                _compare(value[name], inner, f"{where}.{name}".lstrip("."))
    elif isinstance(shape, list):
        _require(value, list, where)
        if len(shape) > 1 and len(value) != len(shape):
            raise ValueError(f"{where or 'it'}: has {len(value)} entries, not {len(shape)}")
        for index, inner in enumerate(value):
            _compare(inner, shape[index if len(shape) > 1 else 0], f"{where}[{index}]")
    else:
        _require(value, shape, where)


def _require(value: Any, kinds: Any, where: str) -> None:
    allowed = kinds if isinstance(kinds, tuple) else (kinds,)
    allowed += (int,) if float in allowed else ()
    if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
        wanted = " or ".join("null" if kind is NONE else kind.__name__ for kind in allowed)
        raise ValueError(f"{where or 'it'}: is {json.dumps(value)[:30]}, not {wanted}")
    if float in allowed and isinstance(value, (int, float)) and not abs(value) <= LARGEST:
        raise ValueError(f"{where or 'it'}: is too large for a number")
