"""Figures 6, 7 and 8: samples of TIM beside their input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from paper.pages import folder_of, write_target
from paper.run_conditions import trained_at
from paper.workbench import SAMPLING_SEED, Workbench
from tim_plugin.inference.image_samples import sample_loader
from tim_plugin.inference.outputs import sheet_row
from tim_plugin.utils.contact_sheet import contact_sheet
from tim_plugin.utils.images import write_png

FIGURES = {"fig6": "sr16x", "fig7": "colorization", "fig8": "decompression"}
SHOWN_INPUTS = 6
SHOWN_SAMPLES = 6


@torch.no_grad()
def reproduce_samples(bench: Workbench, figure: str) -> dict[str, Any]:
    """Write a contact sheet of images spread evenly over those measured, none picked: ``FIGURE.{json,md,png}``.

    Args:
        bench: Preset, data, features, machine.
        figure: A key of :data:`FIGURES`.

    Raises:
        TimError: The data cannot be read.
    """
    task, seed = FIGURES[figure], bench.preset.seeds[0]
    system = bench.preset.tim(task)
    run = bench.run(system, seed)
    (checkpoint,) = bench.train([run])
    images = bench.spread_images(system, SHOWN_INPUTS)
    network, folder = bench.network(system, checkpoint), folder_of(bench.root, bench.preset.name)
    sampled = sample_loader(network, DataLoader(images), SHOWN_SAMPLES, SAMPLING_SEED, bench.device)
    sheet = contact_sheet([sheet_row(one._replace(name="")) for one, _ in sampled], max_samples=SHOWN_SAMPLES)
    write_png(folder / f"{figure}.png", sheet)
    conditions = {
        **bench.shown_conditions(),
        "run": run.name(),
        "iterations": run.iterations(),
        "training_seed": seed,
        **trained_at(bench.root, [run.name()]),
    }
    content = {
        "task": task,
        "images": [Path(images.dataset.paths[index]).name for index in images.indices],
        "conditions": conditions,
    }
    page = [f"# Figure {figure.removeprefix('fig')}: samples of TIM, {task}", "", f"![Samples]({figure}.png)", ""]
    page += ["Input, samples, where they differ, ground truth; images evenly spread, none picked."]
    write_target(folder, figure, content, page)
    return content
