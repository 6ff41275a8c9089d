"""Samples of the compared systems, one below the other: what a table's figures look like."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from paper.workbench import SAMPLING_SEED, Workbench
from tim_plugin.inference.image_samples import sample_loader
from tim_plugin.inference.outputs import sheet_row
from tim_plugin.utils.contact_sheet import contact_sheet
from tim_plugin.utils.images import write_png

SHOWN_INPUTS, SHOWN_SAMPLES = 3, 4
ABOUT = f"""The first {SHOWN_SAMPLES} samples of each system that samples, of its first seed, for each of {SHOWN_INPUTS}
inputs. These are evenly spread over those measured, none picked."""


@torch.no_grad()
def draw_systems(bench: Workbench, task: str, checkpoints: Mapping[str, Path], path: Path) -> None:
    """Write a contact sheet with a row for each input and each of the systems that sample.

    Args:
        bench: Preset, data, machine.
        task: Of the preset's.
        checkpoints: By the system's name.
        path: Of the picture, PNG.
    """
    shown = {}
    for system in bench.preset.systems[task]:
        if system.several and system.name in checkpoints:
            network = bench.network(system, checkpoints[system.name])
            images = DataLoader(bench.spread_images(system, SHOWN_INPUTS))
            sampled = sample_loader(network, images, SHOWN_SAMPLES, SAMPLING_SEED, bench.device)
            shown[system.name] = [sheet_row(one._replace(name=system.name)) for one, _ in sampled]
    rows = [row for of_input in zip(*shown.values(), strict=True) for row in of_input]
    write_png(path, contact_sheet(rows, max_samples=SHOWN_SAMPLES))
