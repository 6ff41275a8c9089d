"""The folder of the Hugging Face Space: what the Hub reads of it, and that its app starts the explorer."""

from __future__ import annotations

import importlib.util
import re
import socket
import urllib.request
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "integrations" / "space"
COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}  # that a Space may have


def test_the_header_says_what_a_space_needs():
    header = yaml.safe_load((FOLDER / "README.md").read_text().split("---\n")[1])
    assert header["sdk"] == "gradio" and (FOLDER / header["app_file"]).is_file()
    assert {header["colorFrom"], header["colorTo"]} <= COLOURS and isinstance(header["python_version"], str)
    assert len(header["short_description"]) <= 60  # as the Hub allows


def test_the_requirements_are_this_package_with_an_extra_that_it_has():
    lines = [line for line in (FOLDER / "requirements.txt").read_text().splitlines() if not line.startswith("#")]
    (needed,) = map(Requirement, lines)
    assert needed.name == "tim_plugin"
    for extra in needed.extras:
        assert re.search(rf'^        "{extra}":', (ROOT / "setup.py").read_text(), re.MULTILINE), extra


def test_the_app_serves_the_explorer_to_other_machines():
    pytest.importorskip("tim_plugin.explorer.page", reason="gradio is not installed")
    spec = importlib.util.spec_from_file_location("space_app", FOLDER / "app.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    desk, app = module.start(port=port)
    try:
        assert app.server_name == "0.0.0.0" and app.share_url is None
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60) as answer:
            assert answer.status == 200 and "tim explore" in answer.read().decode()
    finally:
        module.page.close(desk, app)
