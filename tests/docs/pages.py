"""The guide's pages and what stands in them, for the tests beside this file."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
WRITTEN_BY_TOOLS = ("results/small", "models")  # what the laboratory writes; it is tested there
BUILT = ("_build", "api", "auto_gallery")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROGRAM = re.compile(r"^(?:tim|(?:.* )?(?:python|torchrun\s.*?)\s(?P<tool>tools/\w+\.py))\s+(?P<words>.*)$")


def pages() -> list[Path]:
    """README, CONTRIBUTING and every page of the guide that a person wrote."""
    left_out = tuple(str(DOCS / part) for part in (*WRITTEN_BY_TOOLS, *BUILT))
    guide = [path for path in sorted(DOCS.rglob("*.md")) if not str(path).startswith(left_out)]
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *guide]


def blocks(text: str, language: str) -> list[str]:
    """The contents of a page's code blocks in a language."""
    return [match[2] for match in BLOCK.finditer(text) if match[1] == language]


def commands(text: str) -> list[list[str]]:
    """The words of each command of a page's shell blocks, and of `...` in its text, that runs a program of ours."""
    lines = "\n".join(blocks(text, "sh")).replace("\\\n", " ").splitlines()
    lines += re.findall(r"`((?:python tools/\w+\.py|tim [a-z]+) [^`]*)`", BLOCK.sub("", text))
    found = [PROGRAM.match(line.split("    #")[0]) for line in lines]
    return [[match["tool"] or "tim", *shlex.split(match["words"])] for match in found if match]
