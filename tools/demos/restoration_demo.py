"""The demos of every task but the digits: train, write a contact sheet of held-out images, measure."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2

from demos.consistency_comparison import compare_consistency, consistency_text
from demos.demo_photos import write_noisy, write_photos
from demos.demo_runs import Demo, Trained, measure, train
from demos.first_picture import show_shipped
from demos.layouts_demo import LAYOUTS, layout_data
from tim_plugin.inference.image_samples import SampledImage
from tim_plugin.inference.outputs import sheet_row
from tim_plugin.metrics.summary import Row
from tim_plugin.utils.contact_sheet import SheetRow, contact_sheet
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.images import encode_pixels, read_bytes, read_image, to_pixels, write_png
from tim_plugin.utils.writing import write_atomically, write_json

COMMENT = b"written by tools/demo.py --picture"
MARK = b"\xff\xfe" + (2 + len(COMMENT)).to_bytes(2, "big") + COMMENT  # a JPEG's comment segment
PHOTOS = Path("datasets/demo_photos")
NOISY = Path("datasets/demo_noisy")


def _smaller_scale(scale: int, num_levels: int) -> Demo:
    """The first levels of the demo of 16x super-resolution end at the same size from a larger LQ."""
    overrides = {
        "name": f"demo_sr{scale}x",
        "scale": scale,
        "datasets:train:task": f"sr{scale}x",
        "datasets:val:task": f"sr{scale}x",
        "network_g:num_levels": num_levels,
        "network_g:trunk_channels": [32, 24, 16][-num_levels:],
        "network_g:growth_channels": [24, 16, 12][-num_levels:],
    }
    return Demo("demo_sr16x.yml", f"{scale}x super-resolution of photographs", overrides)


DEMOS = {
    "sr16x": Demo("demo_sr16x.yml", "16x super-resolution of photographs, from 4x4 to 64x64 or so"),
    "sr8x": _smaller_scale(8, 3),
    "sr4x": _smaller_scale(4, 2),
    "colorization": Demo("demo_colorization.yml", "colours for grey photographs"),
    "decompression": Demo("demo_decompression.yml", "photographs from strongly compressed JPEGs"),
    "generic": Demo("demo_generic.yml", "blurred and noisy photographs restored, by BasicSR's paired data set"),
    LAYOUTS: Demo("demo_layout_camvid.yml", "street scenes from label maps; --data names CamVid's folder"),
}


def run_demo(name: str, root: Path, data: Path | None = None) -> dict[str, Any]:
    """Show the package's tower, train, sample, measure; write ``contact_sheet.png`` and ``metrics.json``.

    Args:
        name: A key of :data:`DEMOS`.
        root: The project's folder; data, experiments and results are made below it.
        data: CamVid's folder, for the demo of layouts; the other demos have their own photographs.

    Returns:
        The measures.

    Raises:
        TimError: A photograph's package is not installed, or the data are not there.
    """
    demo, started = DEMOS[name], time.perf_counter()
    overrides = _data(name, root, data)
    show_shipped(name, demo, root)
    trained = train(demo, root, overrides)
    result = root / "results" / trained.opt["name"]
    sheet: list[SheetRow] = []

    def on_image(sampled: SampledImage, row: Row) -> None:
        sheet.append(sheet_row(sampled))

    measures = {"task": name, **trained.measures, **measure(demo, trained, on_image=on_image)}
    measures["seconds"] = round(time.perf_counter() - started, 1)
    shown = sheet[:: -(-len(sheet) // demo.shown_images)]
    write_png(result / "contact_sheet.png", contact_sheet(shown, max_samples=demo.shown_samples))
    write_json(result / "metrics.json", measures)
    _tell(measures, result, trained, root)
    return measures


def picture_demo(name: str, root: Path, file: Path) -> None:
    """Only sample with the package's tower, and write what it shows as a JPEG: how the README's pictures are made.

    Args:
        name: A key of :data:`DEMOS`.
        root: The project's folder; the photographs are written below it.
        file: The JPEG.

    Raises:
        TimError: The package holds no tower for the demo, or the file is there and no demo wrote it.
    """
    if file.exists() and not _is_demo_picture(file):
        raise TimError(f"--picture {file}: is there, and no demo wrote it: give another name, or remove it first")
    _data(name, root, None)
    sheet = show_shipped(name, DEMOS[name], root, "")
    if sheet is None:
        raise TimError(f"--picture: the package holds no tower for {name}: see tools/sample.py --list-models")
    content = encode_pixels(to_pixels(read_image(sheet).rgb), ".jpg", (cv2.IMWRITE_JPEG_QUALITY, 90))
    behind_header = 4 + int.from_bytes(content[4:6], "big")  # JFIF's header comes first
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, content[:behind_header] + MARK + content[behind_header:])
    print(f"written: {file}")


def _is_demo_picture(file: Path) -> bool:
    return file.is_file() and MARK in read_bytes(file)[:256]


def compare_demo(name: str, root: Path, data: Path | None = None) -> dict[str, Any]:
    """Compare a demo's consistency off, at the end only, and trained through; arguments as :func:`run_demo`."""
    return compare_consistency(name, DEMOS[name], root, _data(name, root, data))


def _data(name: str, root: Path, data: Path | None) -> dict[str, Any]:
    """Write a demo's data and return the options that name them, beyond those of its file."""
    if name == LAYOUTS:
        return layout_data(root, data)
    write_photos(root / PHOTOS)
    if name == "generic":
        write_noisy(root / PHOTOS, root / NOISY)
    return {}


def _tell(measures: Mapping[str, Any], result: Path, trained: Trained, root: Path) -> None:
    best = measures[f"best_of_{measures['num_samples']}_distance"]
    here, model = result.relative_to(root), trained.checkpoint.relative_to(root)
    print(
        f"""
Done in {measures["seconds"]:.0f} s: {measures["parameters"]:,} parameters, {measures["iterations"]} iterations.
  loss               {measures["loss"]["start"]:.3f} -> {measures["loss"]["end"]:.3f}
  selected distance  {measures["selected_distance"]["start"]:.3f} -> {measures["selected_distance"]["end"]:.3f}
  held-out images (distance: {measures["distance"]}):
    input {measures["input_distance"]:.3f}, mean {measures["mean_distance"]:.3f}, \
best of {measures["num_samples"]} {best:.3f}, diversity {measures["diversity"]:.3f}
    consistency with the input, mean (worst sample): {consistency_text(measures)}
Look at  {here / "contact_sheet.png"}  and  {here / "metrics.json"}.
Next, many sampled for an input of your own:
  .venv/bin/python tools/sample.py -i IMAGE_OR_FOLDER -o results/mine -m {model} -n 8
or a full-size network on your own data (see docs/guide/training.md):
  .venv/bin/python tools/train.py -opt options/train_tim_{measures["task"]}.yml""",
        flush=True,
    )
