"""The published training options with real folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from tim_plugin.options.option_file import read_option_file

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def opt(photos):
    options = read_option_file(ROOT / "options" / "train_tim_sr16x.yml")
    for dataset in options["datasets"].values():
        dataset["dataroot_gt"] = str(photos)
    return options
