"""The page of the package's towers' calibration: measured once, with all figures of the table in it."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path

import pytest

from paper import calibration, posterior_figures

ROOT = Path(__file__).resolve().parents[3]


def no_measuring(*arguments):
    raise AssertionError("measured again")


def test_towers_are_measured_once_and_stand_on_one_page(bench, monkeypatch, capsys):
    for module in (calibration, posterior_figures):
        monkeypatch.setattr(module, "INPUTS", 2)
        monkeypatch.setattr(module, "NUM_SAMPLES", 9)
    monkeypatch.setattr(calibration, "TEMPERATURES", (0.0,))
    content = calibration.reproduce_calibration(bench, ["sr16x"])
    folder = bench.root / "docs" / "results" / "small"
    assert json.loads((folder / "calibration.json").read_text()) == content
    found = content["tasks"]["sr16x"]
    assert found["images"] == 2 and found["energy_score"]["pixels"] > 0
    assert 0 < found["coverage"]["pixels"]["50%"] <= found["coverage"]["pixels"]["80%"] < 1
    page = (folder / "calibration.md").read_text()
    cold = found["temperatures"]["0"]
    assert cold["variation"]["l_std"] == 0 < found["variation"]["l_std"] and "| `sr16x-small` | 0 |" in page
    best = [found["lpips"]["best_of_curve"][count - 1] for count in (1, 8, 9)]
    assert "| `sr16x-small` |" in page and " | ".join(f"{one:.3f}" for one in best) in page
    assert "- data set: data, halved; tiles of val" in page and "![Coverage" in page
    assert (folder / "calibration.png").stat().st_size > 5000
    monkeypatch.setattr(calibration, "_measured", no_measuring)
    for file in folder.iterdir():
        file.unlink()
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)  # as if it were not installed
    assert calibration.reproduce_calibration(bench, ["sr16x"])["tasks"] == content["tasks"]
    assert sorted(file.name for file in folder.iterdir()) == ["calibration.json", "calibration.md"]
    assert "calibration.png: is not drawn, since matplotlib is not installed" in capsys.readouterr().err
    monkeypatch.setattr(calibration, "NUM_SAMPLES", 10)
    with pytest.raises(AssertionError, match="measured again"):
        calibration.reproduce_calibration(bench, ["sr16x"])


def test_no_target_needs_matplotlib_to_start():
    for path in (*(ROOT / "tools" / "paper").glob("*.py"), *(ROOT / "tools" / "demos").glob("*.py")):
        tops = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
        names = [getattr(node, "module", None) or node.names[0].name for node in tops]
        assert not [name for name in names if name.split(".")[0] == "matplotlib"], path
