"""The bridges stay optional: nothing imports their packages, and without them one sentence says what to install."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import tim_plugin as tim
from tim_plugin.utils.errors import TimError

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {"huggingface_hub", "spandrel", "mmengine", "deepinv"}


def test_the_front_door_loads_none_of_the_packages():
    code = f"import sys, tim_plugin.api, tim_plugin.cli.main; print(sorted({PACKAGES!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_only_the_bridges_name_the_packages():
    bridges = {*(ROOT / "tim_plugin" / "integrations").glob("*.py"), ROOT / "tim_plugin" / "spandrel.py"}
    for path in set((ROOT / "tim_plugin").rglob("*.py")) - bridges:
        if "_vendor" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            assert not PACKAGES & {name.split(".")[0] for name in names}, path


def test_without_the_hubs_package_a_tower_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.delitem(sys.modules, "tim_plugin.integrations.hub", raising=False)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # as where it is not installed
    with pytest.raises(TimError, match=r"pip install 'tim_plugin\[hub\]'"):
        tim.Tower.from_pretrained(tmp_path, device="cpu")
