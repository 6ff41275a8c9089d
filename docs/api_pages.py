"""The API's pages: one for each folder of the package, written anew at each build from the files that are there."""

from __future__ import annotations

import ast
from pathlib import Path

INDEX = """# API

What most people need is the front door, [`tim_plugin`](tim_plugin.md): `load`, `list_models`, `Tower`, `Samples`,
`train`, `test`. Behind it each folder of the package has a page, in the order in which they build on one another.

```{{toctree}}
:maxdepth: 1

{pages}
```
"""
ORDER = "utils degradations options data imle losses archs inference metrics models integrations explorer cli".split()
LEFT_OUT = ("__main__",)


def write(package: Path, folder: Path) -> None:
    """Write the index, the page of the package's own modules, and a page for each of its folders."""
    folder.mkdir(exist_ok=True)
    parts = sorted((p.name for p in package.iterdir() if (p / "__init__.py").is_file()), key=_place)
    pages = {package.name: [package / "__init__.py", *_modules(package)]}
    pages |= {part: [package / part / "__init__.py", *_modules(package / part)] for part in parts}
    for old in set(folder.glob("*.md")) - {folder / f"{name}.md" for name in (*pages, "index")}:
        old.unlink()
    for name, files in pages.items():
        _write_if_new(folder / f"{name}.md", _page(name, files, package))
    _write_if_new(folder / "index.md", INDEX.format(pages="\n".join(pages)))


def _place(part: str) -> tuple[int, str]:
    return ORDER.index(part) if part in ORDER else len(ORDER), part


def _modules(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.py") if path.stem not in (*LEFT_OUT, "__init__"))


def _page(name: str, files: list[Path], package: Path) -> str:
    modules = [_dotted(path, package) for path in files]
    listed = "\n".join(f"   {path.stem}" for path in files[1:])
    summary = f"```{{eval-rst}}\n.. autosummary::\n\n{listed}\n```\n\n" if listed else ""
    heading = name if name == package.name else f"{package.name}.{name}"
    body = [_section(module, path, is_first=path == files[0]) for module, path in zip(modules, files, strict=True)]
    return f"# {heading}\n\n" + body[0] + summary + "".join(body[1:])


def _section(module: str, path: Path, is_first: bool) -> str:
    heading = "" if is_first else f"## {module}\n\n"
    members = "   :no-members:\n" if is_first and not _defines(path) else ""
    return f"{heading}```{{eval-rst}}\n.. automodule:: {module}\n{members}```\n\n"


def _defines(path: Path) -> bool:
    return any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in ast.parse(path.read_text()).body)


def _dotted(path: Path, package: Path) -> str:
    return ".".join((package.name, *path.relative_to(package).with_suffix("").parts)).removesuffix(".__init__")


def _write_if_new(path: Path, text: str) -> None:
    """Leave a page that has not changed as it is, so that a second build reads only what is new."""
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
