"""What the files of this folder hold: networks of the authors' public code, what went in and what came out."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file

from tim_plugin.imle.latents import Latents, LevelLatent
from tim_plugin.imle.types import Condition
from tim_plugin.utils.authors_files import without_prefix

FILES = Path(__file__).resolve().parent
TASKS = {
    "camnet_colorization": "colorization",
    "camnet_decompression": "decompression",
    "camnet_image_synthesis": "layouts",
    "camnet_super_resolution": "super_resolution",
    "chimle_colourization": "colorization",
    "chimle_generic": "generic",
    "chimle_super_resolution": "super_resolution",
    "hyperrim_decompression": "decompression",
}


def file(name: str) -> Path:
    return FILES / f"{name}.safetensors"


def weights(name: str) -> dict[str, torch.Tensor]:
    return without_prefix({key: value.clone() for key, value in load_file(file(name)).items()})


def largest_differences(network: torch.nn.Module, name: str) -> list[float]:
    """Run what the authors' network ran on, and compare the image of each level, relatively where it is beyond 1."""
    kept, facts = load_file(file(name)), json.loads((FILES / f"{name}.json").read_text())
    style, levels = network.spec.style_dim, range(1, network.spec.num_levels + 1)
    codes = [kept[f"code.{k}"].clone() for k in levels]
    noise = [
        code[:, style:].unflatten(1, (-1, *size)) for code, size in zip(codes, facts["reading_sizes_hw"], strict=True)
    ]
    latents = Latents([LevelLatent(one, code[:, :style]) for one, code in zip(noise, codes, strict=True)])
    conditions = [Condition(kept[f"input.{k}"].clone() if f"input.{k}" in kept else None) for k in levels]
    with torch.no_grad():
        images = network(conditions, latents)
    wanted = [kept[f"rgb.{k}" if f"rgb.{k}" in kept else f"output.{k}"] for k in levels]
    return [((a - b).abs() / b.abs().clamp_min(1)).max().item() for a, b in zip(images, wanted, strict=True)]
