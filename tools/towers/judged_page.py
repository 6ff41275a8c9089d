"""The page of the package's towers by an independent judge: each beside what is had without it, or was before it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch

from paper.cached_runs import content_of, kept_json
from paper.pages import consistency_cell, table, write_target
from paper.run_conditions import machine
from paper.sample_cost import parameters_of
from tim_plugin import __version__
from tim_plugin.inference import towers as pretrained
from towers.gallery import FOLDER as GALLERY
from towers.gallery import Compared, write_page, write_sheet
from towers.judge import INPUTS, METRICS, NUM_SAMPLES, SETS, SEVERAL, Judge
from towers.qualities import INPUTS as QUALITY_INPUTS
from towers.qualities import QUALITIES, SUBSAMPLINGS, by_quality, quality_lines
from towers.recipes import TOWERS

TARGET, FLOOR = "judged", "real images"
BEFORE, REGRESSION = BESIDE = ("before", "regression")  # what a tower is measured beside
ABOUT = f"""By EfficientNet-Lite0's features, which no tower was trained by, on the middle 128x128 pixels of
photographs that were held out, or on whole street scenes. Distances are to the ground truth, squared differences of
five of its maps; nearer: the share of inputs whose first {SEVERAL} samples are nearer in mean than what is had without
a network, and where there is a row of the regression, than its. {NUM_SAMPLES} samples of each of {INPUTS} inputs,
evenly spread; for a true posterior the spread over the error is 1 and the coverage of the 90 % interval 90 %; both in
pixels, and in those maps. Sets: {SEVERAL} samples of each input against all ground truths; floors are of real images of
the same kind from the training set."""

HEADER = [
    *("", "parameters", "mean distance", f"best of {SEVERAL}", f"best of {NUM_SAMPLES}", "diversity", "nearer"),
    *("energy score: pixels, features", "spread over error", "coverage of 90 %", "consistency: mean, worst"),
    *("frechet_efficientnet", "kid_efficientnet", "recall, coverage of the set"),
]
GLANCE = [
    *("", "held out", "mean distance", f"best of {SEVERAL}", "nearer", "frechet_efficientnet"),
    "coverage of 90 % of features",
]
GLANCE_ABOUT = f"""Of each tower, with the one that it replaced ({BEFORE}), itself trained on with one candidate a
level, so that nothing is chosen and its samples become alike ({REGRESSION}), and what is had without a network
(without):"""
LAST = "what follows is of the rows made last; the others were made earlier, at the commit that judged.json has of them"
BLANK = ["-"] * 8  # of what has no samples: between its mean distance and its sets


def judge_towers(
    root: Path,
    data: Path,
    names: Sequence[str],
    beside: Path | None,
    device: torch.device | str,
    beside_as: str = BEFORE,
) -> dict[str, Any]:
    """Measure towers on each of their held-out sets, and another file alike; write ``judged.{json,md}``.

    Args:
        root: The project's folder.
        data: Holds the folders of photographs.
        names: Of :data:`towers.recipes.TOWERS`, with ``judged_on``.
        beside: The other tower's file, for all of ``names``.
        device: Where.
        beside_as: What the other tower is, of :data:`BESIDE`.

    Returns:
        What ``judged.json`` holds: ``rows`` by held-out set (``TASK, SET``) and what is measured.

    Raises:
        TimError: The data or the file cannot be read, or the judge's weights are not installed.
    """
    folder, judge = root / "docs" / "models", Judge(device)
    path = folder / f"{TARGET}.json"
    rows: dict[str, dict[str, Any]] = json.loads(path.read_text())["rows"] if path.is_file() else {}
    for name in names:
        files = {name: pretrained.path_of(name), **({} if beside is None else {f"{name}, {beside_as}": beside})}
        for what, sections in TOWERS[name].judged_on.items():
            section, others = (one(root, data) for one in sections)
            found = rows.setdefault(f"{section['task']}, {what}", {})
            found.update({label: _kept(root, judge, file, section) for label, file in files.items()})
            _show(folder, name, what, found[name], section, device)
            found.pop(FLOOR, None)  # stays the last row
            found[FLOOR] = _kept_floor(root, judge, section, others)
    conditions = {"judge": judge.extractor.name, "measured last": LAST, **machine(root, device)}
    content = {"rows": rows, "conditions": conditions}
    folder.mkdir(parents=True, exist_ok=True)
    write_target(folder, TARGET, content, _page(rows))
    write_page(folder, {name: shipped.looks for name, shipped in TOWERS.items()})
    return content


def _show(
    folder: Path, name: str, what: str, figures: Mapping[str, Any], section: Mapping[str, Any], device: Any
) -> None:
    """Write the tower's sheet of the gallery."""
    compared = [Compared(*one) for one in figures["ratios"]]
    path = folder / GALLERY / f"{name}_{what}.jpg"
    write_sheet(path, pretrained.load(name, device).network, section, compared, SEVERAL, device)


def judged_key(judge: Judge, section: Mapping[str, Any]) -> dict[str, Any]:
    """What figures are kept under, beside what is judged."""
    dataset = {key: content_of(Path(value)) if key.startswith("dataroot_") else value for key, value in section.items()}
    measured = [*METRICS, *SETS, INPUTS, NUM_SAMPLES, SEVERAL, __version__]
    return {"judge": judge.extractor.digest, "dataset": dataset, "measured": measured}


def _kept(root: Path, judge: Judge, file: Path, section: Mapping[str, Any]) -> dict[str, Any]:
    network = cache(lambda: pretrained.open_network(file, judge.device).network)
    key, place = {"tower": content_of(file), **judged_key(judge, section)}, root / "experiments" / "judged"

    def measure() -> dict[str, Any]:
        measured = {"parameters": parameters_of(network()), **judge.tower(network(), section)}
        return {**measured, "commit": machine(root, judge.device)["commit"]}

    found = kept_json(place, file.stem, key, measure)
    if section["task"] != "decompression":
        return found
    key |= {"qualities": [QUALITIES, SUBSAMPLINGS, QUALITY_INPUTS]}
    at = kept_json(place, f"{file.stem}_qualities", key, lambda: by_quality(judge, network(), section))
    return {**found, "qualities": at}


def _kept_floor(root: Path, judge: Judge, section: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    key = {"others": content_of(Path(others["dataroot_gt"])), **judged_key(judge, section)}
    return kept_json(root / "experiments" / "judged", "floor", key, lambda: judge.floor(section, others))


def _page(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    lines = ["# The towers by an independent judge", "", ABOUT, "", "## At a glance", "", GLANCE_ABOUT]
    lines += ["", *table(GLANCE, [_glance(what, found) for what, found in rows.items()])]
    for what, found in rows.items():
        shown = _towers(found)
        regression = shown.get(f"{next(iter(shown))}, {REGRESSION}")
        body = [[f"`{label}`", *cells(one, regression)] for label, one in shown.items()]
        body.append(["without a network", *cells_of_trivial(next(iter(shown.values())))])
        body.append([FLOOR, "-", "-", *BLANK, *_of_sets(found[FLOOR])])
        images = next(iter(shown.values()))["sets"]["images_in_sets"]["ground_truths"]
        lines += ["", f"## {what}: {images} images", "", *table(HEADER, body)]
        at = {label: one["qualities"] for label, one in shown.items() if "qualities" in one}
        lines += quality_lines(at) if at else []
    return lines


def _towers(found: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """A held-out set's figures of towers: of the package's first."""
    return {label: one for label, one in found.items() if label != FLOOR}


def _glance(what: str, found: Mapping[str, Any]) -> list[str]:
    """A row of the table below :data:`GLANCE`: a tower's figures on one of its sets, each beside what it is to beat."""
    named = [(_in_brackets(label), one) for label, one in _towers(found).items()]
    trivial, floor = named[0][1]["trivial"], found[FLOOR]

    def figure(value: Callable[[Mapping[str, Any]], str], *others: str) -> str:
        return ", ".join([*(value(one) + label for label, one in named), *others])

    return [
        f"`{next(iter(found))}`",
        what.split(", ")[-1],
        figure(lambda one: f"{one['lpips']['best_of_curve'][0]:.2f}", f"{trivial['distance']:.2f} (without)"),
        figure(lambda one: f"{one['lpips']['best_of_curve'][SEVERAL - 1]:.2f}"),
        figure(lambda one: f"{one['nearer_than_trivial']:.0%}"),
        figure(
            lambda one: f"{one['sets']['frechet_efficientnet']:.0f}",
            f"{trivial['sets']['frechet_efficientnet']:.0f} (without)",
            f"{floor['frechet_efficientnet']:.0f} ({FLOOR})",
        ),
        figure(lambda one: f"{one['coverage']['features']['90%']:.0%}"),
    ]


def _in_brackets(label: str) -> str:
    """``NAME, before`` as `` (before)``, and nothing of ``NAME``."""
    what = label.partition(", ")[2]
    return f" ({what})" if what else ""


def _nearer(one: Mapping[str, Any], regression: Mapping[str, Any] | None) -> str:
    """The share of inputs whose samples are nearer than what is had without a network, and than the regression's."""
    without = f"{one['nearer_than_trivial']:.0%}"
    if regression is None or one is regression:
        return without
    pairs = list(zip(one["ratios"], regression["ratios"], strict=True))
    return f"{without}, {sum(ours[1] < others[1] for ours, others in pairs) / len(pairs):.0%}"


def cells(one: Mapping[str, Any], regression: Mapping[str, Any] | None = None) -> list[str]:
    """Return a row of the table below :data:`HEADER`, of :meth:`towers.judge.Judge.tower`'s figures."""
    curve, energy = one["lpips"]["best_of_curve"], one["energy_score"]
    spread, coverage = one["spread_over_error"], one["coverage"]
    return [
        f"{one['parameters']:,}",
        *(f"{curve[count - 1]:.3f}" for count in (1, SEVERAL, NUM_SAMPLES)),
        f"{one['lpips_diversity']:.3f}",
        _nearer(one, regression),
        f"{energy['pixels']:.4f}, {energy['features']:.4f}",
        f"{spread['pixels']:.2f}, {spread['features']:.2f}",
        ", ".join(f"{coverage[space]['90%']:.0%}" for space in ("pixels", "features")),
        consistency_cell(one),
        *_of_sets(one["sets"]),
    ]


def cells_of_trivial(one: Mapping[str, Any]) -> list[str]:
    """Return the row of what is had without a network, of a tower's figures."""
    trivial = one["trivial"]
    return ["-", f"{trivial['distance']:.3f}", *BLANK, *_of_sets(trivial["sets"])]


def _of_sets(one: Mapping[str, Any]) -> list[str]:
    return [
        f"{one['frechet_efficientnet']:.1f}",
        f"{round(one['kid_efficientnet']['mean'], 3) + 0:.3f}",  # no -0.000
        f"{one['prc']['recall']:.3f}, {one['density_coverage']['coverage']:.3f}",
    ]
