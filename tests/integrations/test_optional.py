"""The bridges stay optional: without their packages one sentence says what to install; test_layout looks at imports."""

from __future__ import annotations

import sys

import pytest

import tim_plugin as tim
from tim_plugin.utils.errors import TimError


def test_without_the_hubs_package_a_tower_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.delitem(sys.modules, "tim_plugin.integrations.hub", raising=False)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # as where it is not installed
    with pytest.raises(TimError, match=r"pip install 'tim_plugin\[hub\]'"):
        tim.Tower.from_pretrained(tmp_path, device="cpu")
