"""Write the README's links anew after ``PROJECT_URL`` in setup.py: ``python docs/readme_links.py``.

A package page shows only absolute links and pictures. Their paths are those of files in this tree; the address before
them stands in setup.py alone.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
OURS = re.compile(r"^(?:https?://.*/(?:blob|raw)/main/)?((?!https?:)[^#]+)(#.*)?$")


def project_url(setup: str) -> str:
    """Return the address that setup.py's text gives."""
    return re.search(r'^PROJECT_URL = "(.+)"', setup, re.MULTILINE).group(1)


def links(text: str) -> list[tuple[bool, str]]:
    """Return each link's address, and whether it is a picture's."""
    return [(bool(match[1]), match[3]) for match in LINK.finditer(text)]


def path_in_tree(address: str) -> str | None:
    """Return which file of this tree a link points at, or None where it leaves the project."""
    match = OURS.match(address)
    return match[1] if match else None


def with_links(text: str, url: str) -> str:
    """Return a README's text with every link to this tree absolute, below ``url``."""

    def absolute(match: re.Match) -> str:
        picture, words, address = match.groups()
        found = OURS.match(address)
        if found:
            address = f"{url}/{'raw' if picture else 'blob'}/main/{found[1]}{found[2] or ''}"
        return f"{picture}[{words}]({address})"

    return LINK.sub(absolute, text)


def main() -> None:
    """Rewrite README.md."""
    readme = ROOT / "README.md"
    url = project_url((ROOT / "setup.py").read_text(encoding="utf-8"))
    readme.write_text(with_links(readme.read_text(encoding="utf-8"), url), encoding="utf-8")


if __name__ == "__main__":
    main()
