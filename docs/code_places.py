"""Places in the code that a page names as `FILE::NAME`: the built page gives the line as well."""

from __future__ import annotations

import ast
import re
from pathlib import Path

PLACE = re.compile(r"`((?:tim_plugin|tools|tests)/[\w/]+\.py)::([\w.]+)`")


def line_of(path: Path, name: str) -> int:
    """Return the line on which ``name`` (a function, a class, ``Class.method`` or a module's variable) is defined.

    Raises:
        KeyError: The file defines no such name.
    """
    nodes: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    for part in name.split("."):
        inside = [child for node in nodes for child in ast.iter_child_nodes(node)]
        nodes = [node for node in inside if part in _names(node)]
        if not nodes:
            raise KeyError(f"{path} defines no {name}")
    return nodes[0].lineno


def with_lines(text: str, root: Path) -> str:
    """Return a page's text in which each `FILE::NAME` has its line: `FILE:LINE`, `NAME`."""

    def place(match: re.Match) -> str:
        return f"`{match[1]}:{line_of(root / match[1], match[2])}` (`{match[2]}`)"

    return PLACE.sub(place, text)


def _names(node: ast.AST) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    targets = getattr(node, "targets", [getattr(node, "target", None)])
    return [target.id for target in targets if isinstance(target, ast.Name)]
