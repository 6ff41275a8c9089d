"""YAML without surprises: plain values only, numbers as people write them, and bounds on what a few lines can ask for.

``1e-4`` is a number here, as in YAML 1.2 and in what everybody writes; YAML 1.1, and so BasicSR's own reader, takes it
for text. A date is text, and so is ``4:2:0``, which YAML 1.1 takes for a number to the base of 60.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from pathlib import Path
from typing import Any

import yaml

from tim_plugin.options.plain_checks import shown
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.texts import read_text

MOST_BYTES = 2**20
DEEPEST = 50  # levels of sections and lists
MOST_VALUES = 100_000  # once aliases are written out


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """Plain values only, mappings in their order, and a key given twice is an error."""


def _construct_mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> OrderedDict:
    pairs = loader.construct_pairs(node, deep=True)
    section, where = OrderedDict(), f"in the section that begins in line {node.start_mark.line + 1}"
    for key, value in pairs:
        if isinstance(key, (list, dict)):
            raise TimError(f"a key {where} is {'a list' if isinstance(key, list) else 'a section'}: keys are words")
        if key in section:
            raise TimError(f"key {shown(key)} stands twice {where}: keep one")
        section[key] = value
    return section


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _construct_mapping)
_DATE, _INT, _FLOAT = (f"tag:yaml.org,2002:{name}" for name in ("timestamp", "int", "float"))


def _without_colons(tag: str, pattern: re.Pattern[str]) -> re.Pattern[str]:
    """Return what resolves a number, but to no base of 60."""
    return re.compile(f"(?!.*:){pattern.pattern}", pattern.flags) if tag in (_INT, _FLOAT) else pattern


_Loader.yaml_implicit_resolvers = {
    first: [(tag, _without_colons(tag, pattern)) for tag, pattern in resolvers if tag != _DATE]
    for first, resolvers in _Loader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_FLOAT, re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789"))


def read_option_file(path: str | Path) -> OrderedDict:
    """Read an option file; only plain YAML values are accepted.

    Raises:
        TimError: The file is missing, is not UTF-8 or not YAML (with the line), asks for too much, or holds no
            sections.
    """
    where = f"-opt {path}"
    try:
        opt = load(read_text(path, where, MOST_BYTES))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" in line {mark.line + 1}" if mark else ""
        problem = " ".join(str(getattr(error, "problem", None) or error).split())
        raise TimError(f"{where}: is not valid YAML{line}: {problem}") from error
    except TimError as error:
        raise error if str(error).startswith(where) else TimError(f"{where}: {error}") from error
    if not isinstance(opt, dict):
        raise TimError(f"{where}: holds no options; see options/train_tim_sr16x.yml")
    return opt


def load(text: str) -> Any:
    """Read one YAML document.

    Raises:
        yaml.YAMLError: It is not YAML.
        TimError: It is nested too deep, has too many values, a key twice, or a value that its tag does not allow.
    """
    try:
        loader = _Loader(text)
    except UnicodeEncodeError as error:  # from a command line of bytes
        raise TimError("holds bytes that are no text") from error
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _check_size(node)
        return loader.construct_document(node)
    except (ValueError, OverflowError, TypeError, AttributeError, KeyError) as error:  # !!int abc, !!binary, !!set
        if isinstance(error, TimError):
            raise
        raise TimError(f"holds a value that is not what its tag (!!int, !!float, ...) says: {error}") from error
    finally:
        loader.dispose()


def _check_size(root: yaml.Node) -> None:
    """Refuse what is nested deeper, or has more values with its aliases written out, than any option file."""
    sizes: dict[int, int] = {}  # of the nodes that are done, by identity: an alias is the node that it names
    stack = [(root, False)]
    open_nodes: set[int] = set()
    while stack:
        node, is_done = stack.pop()
        parts = _parts(node)
        if is_done:
            open_nodes.discard(id(node))
            sizes[id(node)] = 1 + sum(sizes[id(part)] for part in parts)
            if sizes[id(node)] > MOST_VALUES:
                raise TimError(f"holds more than {MOST_VALUES:,} values once its aliases (*name) are written out")
        elif id(node) in open_nodes:
            raise TimError(f"line {node.start_mark.line + 1} begins something that holds itself by an alias (*name)")
        elif id(node) not in sizes:
            open_nodes.add(id(node))
            if len(open_nodes) > DEEPEST:
                raise TimError(f"is nested more than {DEEPEST} levels deep in line {node.start_mark.line + 1}")
            stack.append((node, True))
            stack.extend((part, False) for part in parts)


def _parts(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []
