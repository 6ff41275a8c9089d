"""The gallery's examples run as they are, with small sizes, and make what they say."""

from __future__ import annotations

import runpy

import matplotlib
import pytest

from tests.docs.pages import DOCS

EXAMPLES = sorted((DOCS / "gallery").glob("plot_*.py"))
LONGEST_LINES = 70


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A function that runs an example in a folder of its own, with the tests' setting, and gives its names."""
    matplotlib.use("Agg")
    monkeypatch.setenv("TIM_GALLERY_SMALL", "1")
    monkeypatch.chdir(tmp_path)
    yield lambda name: runpy.run_path(str(DOCS / "gallery" / f"plot_{name}.py"))
    matplotlib.pyplot.close("all")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_are_short_and_begin_with_a_title_and_what_they_show(path):
    lines = path.read_text().splitlines()
    assert len(lines) <= LONGEST_LINES
    assert lines[0] == '"""' and set(lines[2]) == {"="} and len(lines[2]) == len(lines[1])
    assert path.read_text().split('"""')[1].endswith(".\n")


def test_super_resolution(run):
    names = run("super_resolution")
    assert names["out"].images.shape == (3, 3, 64, 64) == tuple(names["variations"].images.shape)
    assert names["out"].consistency["lr_psnr"].min() >= 45 and len(names["two"].images) == 2
    assert names["out"].images.std(dim=0).mean() > 0.01  # samples differ
    kept, varied = names["variations"].images[:2]  # the first has the fine latents of sample 0 as well
    assert (kept == names["out"].images[0]).all() and (varied != kept).any()


def test_colourisation(run):
    names = run("colourisation")
    assert names["out"].images.shape == (3, 3, 32, 32)
    assert names["share"].min() >= 0.999 and names["diversity"] > 0


def test_decompression(run):
    names = run("decompression")
    assert names["out"].images.shape == (3, 3, 32, 32)
    assert names["share"].min() >= 0.99 and names["jpeg"][:2] == b"\xff\xd8"


def test_digits(run):
    names = run("digits")
    assert len(names["outs"]) == 2 and all(out.images.shape == (12, 1, 32, 32) for out in names["outs"])
    assert max(float(out.consistency["pca_error"].max()) for out in names["outs"]) < 0.02
    assert all(points.std(dim=0).min() > 0 for points in names["planes"])


def test_own_degradation(run):
    names = run("own_degradation")
    assert names["images"].shape == (3, 3, 24, 24)
    assert names["hole"].measure(names["images"], names["given"])["equal"].min() == 1
    unknown = names["hole"].unknown(names["images"])
    assert unknown.float().mean() == pytest.approx(1 / 9)
    assert names["images"][..., unknown].std(dim=0).mean() > 0  # samples fill the hole in differently


def test_search_on_tensors(run):
    names = run("search_on_tensors")
    assert len(names["losses"]) == 12 and set(names["curves"]) == {"vanilla", "hierarchical"}
    assert all(curve[-1] < curve[0] for curve in names["curves"].values())  # more candidates, nearer ones


def test_every_example_has_a_test():
    tested = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert {path.stem.removeprefix("plot_") for path in EXAMPLES} <= tested and len(EXAMPLES) == 6
