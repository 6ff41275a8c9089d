"""The same small tower, trained by one distance after another, and judged by a network that is none of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from basicsr.data import build_dataset

from paper.cached_runs import kept_json
from paper.pages import table, write_target
from paper.parallel_runs import Run, train_all
from paper.run_conditions import machine
from paper.sample_cost import parameters_of
from paper.systems import length_of
from paper.workbench import evenly_spread
from tim_plugin.options.plain_checks import require_choice
from tim_plugin.utils.checkpoints import load_network
from tim_plugin.utils.contact_sheet import contact_sheet
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.images import write_jpeg
from towers.data import judged_on_photographs, photographs_to_train_on
from towers.gallery import sampled_rows
from towers.judge import NUM_SAMPLES, SEVERAL, Judge
from towers.judged_page import HEADER, cells, cells_of_trivial, judged_key

TARGET, HELD_OUT, SCALE = "distances", "photographs", 8
SHOWN_INPUTS, SHOWN_SAMPLES = 4, 4
SOFTEN = 1.0
EMA_DECAY = 0.99  # over few steps: a slower mean would still hold the untrained weights
SHIFT_PX = 3
PIXELS = 20.0  # bicubic enlargement has a sixth of its distance from them
ABOUT = f"""A network that enlarges {SCALE} times (`tools/towers/options/train_distances.yml`), trained from one seed
for the same steps by each distance on photographs of BSDS500, and judged by EfficientNet-Lite0's features, which is
none of them, on the middle 128x128 pixels of other photographs. In all of them sample and target are moved alike by up
to {SHIFT_PX} pixels at random before they are compared
(`imle: shift_px`). Pixels: the squared difference of the pixels is added (`perceptual_opt: pixels: {PIXELS:g}`).
Softened: flat surfaces count less (`perceptual_opt: soften: {SOFTEN:g}`). Refined: by two gradient steps on the chosen
latents (`imle: refine_steps`). {NUM_SAMPLES} samples of single inputs, {SEVERAL} of each in sets; what the columns are
is said on [the towers' page](judged.md). SqueezeNet's first convolution has a stride of 2, those of VGG16 have a stride
of 1."""


def distances(features: str, teacher: str) -> dict[str, dict[str, Any]]:
    """Return the options of each distance that is compared, by label.

    Args:
        features: Weights of squeezenet1_1.
        teacher: Weights of vgg16.
    """
    ours = _of("tim_small", "bundled", "bundled")
    squeezenet, vgg16 = _of("squeezenet1_1", features, "none"), _of("vgg16", teacher, "none")
    soft = {"train:perceptual_opt:soften": SOFTEN}
    return {
        "tim_small": ours,
        "SqueezeNet": squeezenet,
        "VGG16": vgg16,
        "VGG16 and pixels": {**vgg16, "train:perceptual_opt:pixels": PIXELS},
        "VGG16, softened": {**vgg16, **soft},
        "VGG16, softened, refined": {**vgg16, **soft, "imle:refine_steps": 2},
        "SqueezeNet, softened": {**squeezenet, **soft},
        "tim_small, softened": {**ours, **soft},
    }


def _of(backbone: str, weights: str, calibration: str) -> dict[str, Any]:
    section = {"backbone": backbone, "weights": weights, "calibration": calibration, "soften": 0, "pixels": 0}
    before = {"imle:shift_px": SHIFT_PX, "imle:refine_steps": 0}
    return {**before, **{f"train:perceptual_opt:{key}": value for key, value in section.items()}}


def compare_distances(
    root: Path, data: Path, features: str, teacher: str, iters: int, jobs: int, device: str, only: Sequence[str] = ()
) -> dict[str, Any]:
    """Train what is missing, judge it, and write ``docs/models/distances.{json,md,jpg}``.

    With ``only`` the other rows stay as they are on the page, and the picture is ``distances_again.jpg``.

    Args:
        root: The project's folder.
        data: Holds ``bsds500`` and ``photos``.
        features: State dict of squeezenet1_1.
        teacher: State dict of vgg16.
        iters: Steps of each.
        jobs: Towers that are trained at a time.
        device: Where they are judged.
        only: Labels of the distances that are trained by and judged; empty: all.

    Returns:
        What ``distances.json`` holds: ``rows`` by distance, and ``conditions``.

    Raises:
        TimError: Data or weights cannot be read, a label is not known, the judge's weights are not installed, or the
            page's rows were judged otherwise.
    """
    known = distances(features, teacher)
    for label in only:
        require_choice("--only", label, known)
    judge = Judge(device)
    folder = root / "docs" / "models"
    conditions = {
        "judge": judge.extractor.name,
        "iterations": iters,
        "training_seed": 0,
        "held_out": HELD_OUT,
        **machine(root, device),
    }
    kept = _kept_rows(folder / f"{TARGET}.json", conditions) if only else {}
    chosen = {label: one for label, one in known.items() if not only or label in only}
    runs = tower_runs(root, photographs_to_train_on(root, data), chosen, iters)
    section, _ = (one(root, data) for one in judged_on_photographs(f"sr{SCALE}x", SCALE)[HELD_OUT])
    rows, sheet = {}, []
    shown = evenly_spread(len(build_dataset(dict(section))), SHOWN_INPUTS)
    for label, checkpoint in zip(runs, train_all(list(runs.values()), root, jobs), strict=True):
        network = load_network(checkpoint, device)[0]
        figures = kept_json(
            checkpoint.parent.parent,
            "judged",
            judged_key(judge, section),
            lambda network=network: {"parameters": parameters_of(network), **judge.tower(network, section)},
        )
        rows[label] = {**figures, "commit": conditions["commit"]}
        found = sampled_rows(network, section, shown, SHOWN_SAMPLES, device)
        sheet.append([row._replace(label=label) for row in found])
    rows = kept | rows
    commits = "; ".join(dict.fromkeys(row["commit"] for row in rows.values()))
    content = {"rows": rows, "conditions": {**conditions, "commit": commits}}
    folder.mkdir(parents=True, exist_ok=True)
    rows_of_inputs = [row for of_input in zip(*sheet, strict=True) for row in of_input]
    pictures = [f"{TARGET}.jpg", f"{TARGET}_again.jpg"][: 2 if only else 1]
    write_jpeg(folder / pictures[-1], contact_sheet(rows_of_inputs, max_samples=SHOWN_SAMPLES))
    write_target(folder, TARGET, content, _page(rows, iters, pictures))
    return content


def _kept_rows(path: Path, conditions: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the rows of an earlier page, if they were judged alike.

    Raises:
        TimError: There is no such page, or they were not.
    """
    if not path.is_file():
        raise TimError(f"--only: {path} is not there, whose other rows would be kept; leave --only out")
    page = json.loads(path.read_text())
    for name in ("judge", "iterations", "training_seed", "held_out"):
        if page["conditions"][name] != conditions[name]:
            raise TimError(
                f"--only: the rows of {path} are of {name} {page['conditions'][name]}, now {conditions[name]}: "
                "leave --only out"
            )
    return {label: {"commit": page["conditions"]["commit"], **row} for label, row in page["rows"].items()}


def tower_runs(
    root: Path, data: Mapping[str, Any], changes: Mapping[str, Mapping[str, Any]], iters: int
) -> dict[str, Run]:
    """Return the training runs, which differ in the distance alone, by label."""
    file = root / "tools" / "towers" / "options" / "train_distances.yml"
    length = {**length_of(iters), "train:ema_decay": EMA_DECAY}
    return {label: Run(file, {**data, **length, **change}, "distances") for label, change in changes.items()}


def _page(rows: Mapping[str, Mapping[str, Any]], iters: int, pictures: Sequence[str]) -> list[str]:
    body = [[label, *cells(one)] for label, one in rows.items()]
    body.append(["without a network", *cells_of_trivial(next(iter(rows.values())))])
    return [
        "# Which distance to train by",
        "",
        ABOUT,
        "",
        *table(HEADER, body),
        "",
        *(line for name in pictures for line in (f"![Samples of each tower after {iters} steps]({name})", "")),
        "Inputs are evenly spread over the held-out photographs; of each, one row a distance, in the table's order"
        f"{'; the last picture is of the latest rows alone' if len(pictures) > 1 else ''}.",
    ]
