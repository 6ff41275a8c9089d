"""One step beyond the paper: what else may be done with the search, each against the full model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from paper.ablation import measure_variants, stale_variants, variants_page
from paper.ablation_pictures import draw_variants
from paper.pages import folder_of, with_other_tasks, write_target
from paper.workbench import Workbench

TASKS = ("sr16x",)
RADII = [1.3, 2.2, 3.2, 4.5]  # about the nearest 3 % of a trained tower's candidates at each level, small preset
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("full", {}),
    ("reject_radius", {"imle:reject_radius": RADII}),
    ("jitter 0.1", {"imle:jitter": 0.1}),
    ("consistency trained through", {"network_g:consistency": "project"}),
]


def reproduce_beyond(bench: Workbench, tasks: Sequence[str] = TASKS) -> dict[str, Any]:
    """Train and measure every variant with every seed; write ``beyond.{json,md,png}``.

    Args:
        bench: Preset, data, features, machine.
        tasks: Of :data:`TASKS`.

    Raises:
        TimError: The data or the features cannot be read.
    """
    folder = folder_of(bench.root, bench.preset.name)
    measured, _ = measure_variants(bench, tasks, VARIANTS)
    content = with_other_tasks(folder, "beyond", measured, TASKS, stale_variants(bench, VARIANTS))
    about = f"Each option alone, added to the full model. reject_radius: {RADII}, coarse to fine."
    page = variants_page(content, bench, "# Beyond the paper", about, "beyond")
    write_target(folder, "beyond", content, page)
    draw_variants(content["tasks"], bench.extractor.frechet, folder / "beyond.png")
    return content
