"""The demos on photographs: train, write a contact sheet of held-out photographs, measure."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tim_plugin.contact_sheet import SheetRow, contact_sheet
from tim_plugin.demos.comparison import agreement_text, compare_consistency
from tim_plugin.demos.photos import write_photos
from tim_plugin.demos.runs import Demo, Trained, measure, train, write_json
from tim_plugin.evaluation import Answers, Row
from tim_plugin.images import write_png
from tim_plugin.outputs import sheet_row

DEMOS = {
    "sr16x": Demo("demo_sr16x.yml"),
    "colorization": Demo("demo_colorization.yml"),
    "decompression": Demo("demo_decompression.yml"),
}
PHOTOS = Path("datasets/demo_photos")


def run_demo(name: str, root: Path) -> dict[str, Any]:
    """Train, sample, measure and write ``results/demo_NAME/contact_sheet.png`` and ``metrics.json``.

    Args:
        name: A key of :data:`DEMOS`.
        root: The project's folder; data, experiments and results are made below it.

    Returns:
        The measures.

    Raises:
        TimError: A photograph's package is not installed.
    """
    demo, started = DEMOS[name], time.perf_counter()
    write_photos(root / PHOTOS)
    trained = train(demo, root)
    result = root / "results" / trained.opt["name"]
    sheet: list[SheetRow] = []

    def on_image(answers: Answers, row: Row) -> None:
        sheet.append(sheet_row(answers))

    measures = {"task": name, **trained.measures, **measure(demo, trained, on_image=on_image)}
    measures["seconds"] = round(time.perf_counter() - started, 1)
    write_png(result / "contact_sheet.png", contact_sheet(sheet, max_samples=demo.shown_samples))
    write_json(result / "metrics.json", measures)
    _tell(measures, result, trained, root)
    return measures


def compare_photographs(name: str, root: Path) -> dict[str, Any]:
    """Compare consistency off, at the end only, and trained through; see :func:`compare_consistency`."""
    write_photos(root / PHOTOS)
    return compare_consistency(name, DEMOS[name], root)


def _tell(measures: Mapping[str, Any], result: Path, trained: Trained, root: Path) -> None:
    best = measures[f"best_of_{measures['num_samples']}_distance"]
    here, model = result.relative_to(root), trained.checkpoint.relative_to(root)
    print(
        f"""
Done in {measures["seconds"]:.0f} s: {measures["parameters"]:,} parameters, {measures["iterations"]} iterations.
  loss               {measures["loss"]["start"]:.3f} -> {measures["loss"]["end"]:.3f}
  selected distance  {measures["selected_distance"]["start"]:.3f} -> {measures["selected_distance"]["end"]:.3f}
  held-out photographs (distance: {measures["distance"]}):
    input {measures["input_distance"]:.3f}, mean {measures["mean_distance"]:.3f}, \
best of {measures["num_samples"]} {best:.3f}, diversity {measures["diversity"]:.3f}
    agreement with the input, mean (worst sample): {agreement_text(measures)}
Look at  {here / "contact_sheet.png"}  and  {here / "metrics.json"}.
Next, many answers for an input of your own:
  .venv/bin/python tools/sample.py -i IMAGE_OR_FOLDER -o results/mine -m {model} -n 8
or a full-size network on your own photographs (see README.md):
  .venv/bin/python tools/train.py -opt options/train_tim_{measures["task"]}.yml""",
        flush=True,
    )
