"""ComfyUI nodes: load a tower, and draw samples of images with it. This folder goes into ComfyUI's ``custom_nodes``.

They need tim_plugin in the Python environment of ComfyUI: ``pip install tim_plugin``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import tim_plugin

CATEGORY = "image/Tower Implicit Model"
TOWER = "TIM_TOWER"
LARGEST_SEED = 2**63 - 1
MOST = 64  # samples, levels


class LoadTower:
    """A tower of the package, or of a file."""

    CATEGORY, FUNCTION = CATEGORY, "load"
    RETURN_TYPES, RETURN_NAMES = (TOWER,), ("tower",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Return what ComfyUI asks for: a tower's name, and a file that goes before it."""
        names = list(tim_plugin.list_models())
        file = {"default": "", "tooltip": "A checkpoint of your own; empty: the tower of the package"}
        return {"required": {"model": (names, {"default": "sr4x-small"})}, "optional": {"file": ("STRING", file)}}

    def load(self, model: str, file: str = "") -> tuple[tim_plugin.Tower]:
        """Return the tower; a path that is no tower's is an error of one sentence."""
        return (tim_plugin.load(file.strip() or model),)


class SampleTower:
    """Samples of each image of a batch: those of an image follow one another."""

    CATEGORY, FUNCTION = CATEGORY, "sample"
    RETURN_TYPES, RETURN_NAMES = ("IMAGE",), ("samples",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Return what ComfyUI asks for."""
        whole = {
            "seed": {"default": 0, "max": LARGEST_SEED, "control_after_generate": True},
            "count": {"default": 4, "min": 1, "max": MOST},
            "keep_levels": {"default": 0, "max": MOST, "tooltip": "Coarse levels that are those of keep_sample"},
            "keep_sample": {"default": 0, "max": 9999, "tooltip": "The sample whose coarse levels are kept"},
        }
        variety = {"default": 1.0, "min": 0.0, "max": 10.0, "step": 0.05, "tooltip": "1 is as trained, 0 none"}
        required = {"tower": (TOWER,), "image": ("IMAGE",)}
        required |= {name: ("INT", {"min": 0, **limits}) for name, limits in whole.items()}
        return {"required": required, "optional": {"variety": ("FLOAT", variety)}}

    def sample(
        self,
        tower: tim_plugin.Tower,
        image: Tensor,
        seed: int,
        count: int,
        keep_levels: int,
        keep_sample: int,
        variety: float = 1.0,
    ) -> tuple[Tensor]:
        """Return samples (B * count, scale H, scale W, 3) of images (B, H, W, C) in [0, 1].

        With ``keep_levels`` the coarse levels of all samples are those of sample ``keep_sample``, and the finer ones
        differ; where all levels are kept there is that one sample of each image.
        """
        levels = [keep_sample if level < keep_levels else None for level in range(tower.num_levels)]
        batch = image[..., :3].clamp(0, 1).movedim(-1, 1)  # (B, 3, H, W), without alpha
        with torch.inference_mode():
            found = tower.sample(batch, count, seed, level_seeds=levels, temperature=variety)
        return (found.images.flatten(0, 1).movedim(1, -1).expand(-1, -1, -1, 3).contiguous(),)


NODE_CLASS_MAPPINGS = {"TIMLoadTower": LoadTower, "TIMSampleTower": SampleTower}
NODE_DISPLAY_NAME_MAPPINGS = {"TIMLoadTower": "Load tower (TIM)", "TIMSampleTower": "Sample tower (TIM)"}
