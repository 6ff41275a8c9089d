"""Image synthesis from scene layouts: all that is known of an image is its label map."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tim_plugin.degradations.base import Degradation, Observed
from tim_plugin.degradations.palettes import Palette, get_palette
from tim_plugin.utils.errors import TimError, did_you_mean
from tim_plugin.utils.image_decoding import stored_image

Void = Literal["channel", "mask"]
Cells = Literal["shares", "nearest"]
_VOIDS, _CELLS = get_args(Void), get_args(Cells)
_GREYS = ("L", "I", "I;16", "I;16B")  # Pillow's modes of plain indices


class Labels(Degradation):
    """The LQ is a label map, one-hot; a level reads the share of each class in each of its cells, or one class.

    A file holds class indices (one channel) or the palette's colours (three, four, or a palette of its own). No part of
    an image can be compared with its label map, so there is nothing to project.

    Args:
        palette: Colours and classes of the label maps: ``camvid``, ``cityscapes``, ``gta``, or ``indices`` for plain
            class indices.
        void: ``channel``: void is a class of its own, the last channel; ``mask``: it is zero in every channel, and the
            loss leaves it out.
        num_classes: Number of classes without void, with palette ``indices``.
        void_index: Raw index that is void, if there is void, with palette ``indices``.
        cells: What a level of a lower resolution reads in each of its cells: ``shares``: the share of each class;
            ``nearest``: one class alone, that of the pixel at the cell's centre (the authors' networks).

    Raises:
        TimError: A value that is none of these.
    """

    can_resize = True
    needs_files = True

    def __init__(
        self,
        palette: str = "gta",
        void: Void = "channel",
        num_classes: int | None = None,
        void_index: int | None = None,
        cells: Cells = "shares",
    ) -> None:
        if cells not in _CELLS:
            raise TimError(f"cells {cells!r} is not known: {did_you_mean(str(cells), _CELLS)}")
        if void not in _VOIDS:
            raise TimError(f"void {void!r} is not known: {did_you_mean(str(void), _VOIDS)}")
        self.cells = cells
        self.palette = get_palette(palette, num_classes, void_index)
        if void == "mask" and not self.palette.has_void:
            raise TimError("void 'mask': which index is void? Give void_index (255, for instance), or leave void out")
        self.void_has_channel = self.palette.has_void and void == "channel"
        self.channels = len(self.palette.classes) + self.void_has_channel

    def require_same(self, stored: Mapping[str, Any], where: str) -> None:
        """Raise TimError if a checkpoint was trained with another kind of ``cells``; palettes of one size may differ.

        Args:
            stored: The checkpoint's section of the degradation.
            where: The checkpoint's path, for the error.
        """
        theirs = stored.get("cells", "shares") if stored else self.cells
        if theirs != self.cells:
            raise TimError(
                f"{where}: was trained with cells {theirs!r} in network_g: degradation, which here is {self.cells!r}: "
                f"use cells: {theirs} there"
            )

    def degrade(self, gt: Tensor, generator: torch.Generator | None = None) -> Observed:
        """Refuse: label maps are made by people, not from photographs.

        Raises:
            TimError: Always.
        """
        raise TimError("a label map cannot be made from a photograph: give dataroot_lq, the folder of label maps")

    def read(self, content: bytes, name: str) -> Observed:
        """Read a label map as one-hot (C, H, W).

        Raises:
            TimError: Damaged, or a colour or index that the palette has not got: file, position and value are named.
        """
        indices = torch.from_numpy(_class_indices(content, self.palette, name))[None]  # (1, H, W)
        channels = len(self.palette.classes) + self.palette.has_void
        one_hot = torch.zeros(channels, *indices.shape[1:]).scatter_(0, indices, 1.0)  # 10 times as fast as F.one_hot
        return Observed(one_hot[: self.channels])

    def shrink(self, lq: Tensor, size: tuple[int, int]) -> Tensor:
        """Return the share of each class in each cell of ``size`` (h, w), or one class: (N, C, h, w)."""
        if torch.jit.is_tracing():  # of a graph for any size, which has neither operation
            step = int(lq.shape[-1]) // int(size[-1])
            nearest = self.cells == "nearest"
            return lq[..., step // 2 :: step, step // 2 :: step] if nearest else F.avg_pool2d(lq, step)
        if self.cells == "nearest":
            return F.interpolate(lq, size, mode="nearest-exact")
        return F.adaptive_avg_pool2d(lq, size)

    def resize(self, observed: Observed, size: tuple[int, int]) -> Observed:
        """Return one label map at ``size`` (h, w), by nearest neighbour."""
        return Observed(F.interpolate(observed.lq[None], size, mode="nearest-exact")[0])

    def pixel_weight(self, observed: Observed) -> Tensor | None:
        """Return weights (1, H, W), mean 1, that leave masked void out of the loss; None where void has a channel."""
        if not self.palette.has_void or self.void_has_channel:
            return None
        classed = observed.lq.sum(dim=0, keepdim=True)
        return classed / classed.mean().clamp_min(1 / classed.numel())

    def describe(self) -> dict[str, Any]:
        """Return what identifies the kind of label maps: palette, number of channels, raw indices of void."""
        void = [raw for raw, index in self.palette.indices.items() if index == self.palette.void]
        return {"palette": self.palette.name, "channels": self.channels, "void": void}

    def picture(self, lq: Tensor) -> Tensor:
        """Return a picture (3, h, w) of an LQ (C, h, w): the palette's colours, mixed by shares; masked void black."""
        colours = torch.tensor(self.palette.shown()[: self.channels], dtype=lq.dtype, device=lq.device) / 255
        return torch.einsum("chw,cd->dhw", lq, colours)


def _class_indices(content: bytes, palette: Palette, name: str) -> np.ndarray:
    """Return (H, W) int64 class indices of a file's pixels."""
    image = stored_image(content, name)
    image = image.getchannel(0) if image.mode == "LA" else image
    is_grey = image.mode in _GREYS
    raw = np.array(image).astype(np.int64) if is_grey or image.mode in ("1", "P") else None
    colours = None if is_grey else np.array(image.convert("RGB")).astype(np.int64)
    packed = None if colours is None else colours @ np.array([1 << 16, 1 << 8, 1])
    known = {(r << 16) + (g << 8) + b: index for (r, g, b), index in palette.colours.items()}
    if raw is None:
        return _looked_up(packed, known, "colour", palette, name)
    if packed is not None and _are_all_in(packed, known):  # a file with a palette of its own, which says all
        by_colour = _looked_up(packed, known, "colour", palette, name)
        if _are_all_in(raw, palette.indices):
            _require_one_meaning(by_colour, _looked_up(raw, palette.indices, "class index", palette, name), name)
        return by_colour
    return _looked_up(raw, palette.indices, "class index", palette, name)


def _are_all_in(raw: np.ndarray, known: Mapping[int, int]) -> bool:
    return all(int(value) in known for value in np.unique(raw))


def _require_one_meaning(by_colour: np.ndarray, by_index: np.ndarray, name: str) -> None:
    if (by_colour != by_index).any():
        y, x = np.argwhere(by_colour != by_index)[0]
        raise TimError(
            f"{name}: is ambiguous: at x {x}, y {y} its colour means class {by_colour[y, x]} and its raw index class "
            f"{by_index[y, x]}: save it as RGB (colours) or as grey (indices)"
        )


def _looked_up(raw: np.ndarray, known: Mapping[int, int], what: str, palette: Palette, name: str) -> np.ndarray:
    values, positions = np.unique(raw, return_inverse=True)
    found = np.array([known.get(int(value), -1) for value in values])
    indices = found[positions].reshape(raw.shape)
    if (found < 0).any():
        y, x = np.argwhere(indices < 0)[0]
        value = int(raw[y, x])
        shown = f"({value >> 16}, {value >> 8 & 255}, {value & 255})" if what == "colour" else str(value)
        raise TimError(
            f"{name}: {what} {shown} at x {x}, y {y} is not in palette '{palette.name}' "
            f"({len(palette.classes)} classes{' and void' if palette.has_void else ''})"
            + (": save label maps without loss (PNG)" if len(values) > 2 * len(known) else "")
        )
    return indices.astype(np.int64)
