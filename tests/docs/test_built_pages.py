"""What the guide's build adds: lines of the functions that pages name, and a page of the API for each folder."""

from __future__ import annotations

import importlib.util
import re

import pytest

from tests.docs.pages import DOCS, ROOT, pages


def module(name):
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def test_every_function_that_a_page_names_is_found_with_its_line():
    places, named = module("code_places"), 0
    for page in pages():
        text = page.read_text()
        shown = places.with_lines(text, ROOT)
        assert not places.PLACE.search(shown)
        named += len(places.PLACE.findall(text))
    assert named > 20


def test_a_place_is_the_line_of_its_definition(tmp_path):
    places = module("code_places")
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "a.py").write_text("X = 1\n\n\nclass A:\n    y: int = 2\n\n    def b(self): ...\n")
    shown = places.with_lines("`tools/a.py::A.b`, `tools/a.py::X`, `tools/a.py::A.y`", tmp_path)
    assert shown == "`tools/a.py:7` (`A.b`), `tools/a.py:1` (`X`), `tools/a.py:5` (`A.y`)"
    with pytest.raises(KeyError, match="defines no A.c"):
        places.with_lines("`tools/a.py::A.c`", tmp_path)


def test_the_api_has_a_page_for_each_folder_and_every_module_on_one(tmp_path):
    (tmp_path / "gone.md").write_text("of a folder that is no more")
    module("api_pages").write(ROOT / "tim_plugin", tmp_path)
    folders = {path.parent.name for path in (ROOT / "tim_plugin").glob("*/__init__.py")}
    assert {path.stem for path in tmp_path.glob("*.md")} == folders | {"tim_plugin", "index"}
    shown = {name for page in tmp_path.glob("*.md") for name in re.findall(r"automodule:: (\S+)", page.read_text())}
    files = {path for part in ("*.py", "[a-z]*/*.py") for path in (ROOT / "tim_plugin").glob(part)}
    files = {path for path in files if path.stem not in ("__init__", "__main__", "_version")}
    assert {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files} <= shown
