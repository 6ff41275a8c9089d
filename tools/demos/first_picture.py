"""What a newcomer sees first: the package's own tower on the held-out photographs, before anything is trained."""

from __future__ import annotations

import time
from pathlib import Path

from basicsr.data import build_dataset
from torch.utils.data import DataLoader, Dataset

from demos.demo_runs import Demo
from tim_plugin.inference import towers as pretrained
from tim_plugin.inference.image_samples import sample_loader
from tim_plugin.inference.outputs import sheet_row
from tim_plugin.options.option_file import read_with_overrides
from tim_plugin.utils import bundled
from tim_plugin.utils.contact_sheet import contact_sheet
from tim_plugin.utils.images import write_png

TOWERS = {  # by demo
    "sr16x": "sr16x-small",
    "sr8x": "sr8x-small",
    "sr4x": "sr4x-small",
    "colorization": "colorize-small",
    "decompression": "decompress-small",
}
SHOWN_PX = 128
NEXT = "Now a small tower of your own is trained on five photographs, to show the whole road; it will not get as far."


def show_shipped(name: str, demo: Demo, root: Path, closing: str = NEXT) -> Path | None:
    """Write a contact sheet of the tower that the package holds for a demo, and say where it is.

    Args:
        name: The demo's.
        demo: The demo; its photographs are written already.
        root: The project's folder.
        closing: What is said at the end.

    Returns:
        The sheet, ``results/demo_NAME/TOWER.png``; None where the package holds no tower for the demo.
    """
    tower, started = TOWERS.get(name), time.perf_counter()
    if tower not in bundled.known(bundled.FOLDER):
        return None
    loader, sheet = DataLoader(_held_out(demo, root)), root / "results" / f"demo_{name}" / f"{tower}.png"
    sampled = sample_loader(pretrained.load(tower).network, loader, demo.shown_samples, demo.seed)
    write_png(sheet, contact_sheet([sheet_row(one) for one, _ in sampled], max_samples=demo.shown_samples))
    print(
        f"{tower}, a tower of this package, on held-out photographs, in {time.perf_counter() - started:.1f} s:\n"
        f"  {sheet.relative_to(root)}\n{closing}",
        flush=True,
    )
    return sheet


def _held_out(demo: Demo, root: Path) -> Dataset:
    opt, _ = read_with_overrides(root / "tools" / "demos" / "options" / demo.option_file, demo.overrides)
    section = {**opt["datasets"]["val"], "dataroot_gt": str(root / opt["datasets"]["val"]["dataroot_gt"])}
    return build_dataset({**section, "gt_size": SHOWN_PX, "phase": "val", "scale": opt["scale"]})
