"""The interface of degradations: from a GT to its observation, and the projection onto images consistent with that."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tim_plugin.utils.disk_tensors import FLOAT_BYTES
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.images import encode_png, round_to_8_bit
from tim_plugin.utils.resize import bicubic_resize
from tim_plugin.utils.strips import STRIP_VALUES, is_very_large_size

Given = dict[str, Tensor]


class Observed(NamedTuple):
    """The observation of an image, with or without a batch dimension.

    Attributes:
        lq: (..., C, h, w): what the network reads.
        given: Tensors that the projection needs beyond the LQ (a JPEG's coefficients); most degradations have none.
    """

    lq: Tensor
    given: Given = {}


class Measure(NamedTuple):
    """A measure of consistency with the input: its ``unit`` as text, and whether ``higher`` or ``lower`` is better."""

    unit: str
    better: str


class Degradation(ABC):
    """A degradation and, where there is one, its projection. Subclasses hold no random state and write no files.

    Attributes:
        channels: Of the LQ.
        image_channels: Of the GT and the samples.
        scale: Size of the GT over the size of the LQ.
        suffix: Of a file that holds an observation.
        crop_step: Prepared LQ files are cropped at multiples of this many LQ pixels.
        can_flip: Whether an observation that was read from a file can be mirrored and transposed.
        can_resize: Whether an observation that was read from a file can be resized with its GT.
        keeps_alpha: Whether a user's file may hold an alpha channel that samples get back.
        needs_files: Whether the LQ cannot be made from a GT and has to be read from files.
        needs: Keys of ``Observed.given`` without which neither projection nor measure is possible.
        projects: Whether there is a projection.
        dataset_only: Arguments that only say how an LQ is made of a GT; a network, which reads it, does not have them.
        measured: The measures of consistency that :meth:`measure` gives.
        saving_copies: How many images' worth of tensors :meth:`project_for_saving` holds at once, the given one
            included, where they are not very large (:func:`tim_plugin.utils.strips.is_very_large`).
        strip_copies: How many strips' worth it holds where they are, beside whole images.
    """

    channels: int = 3
    image_channels: int = 3
    scale: int = 1
    suffix: str = ".png"
    crop_step: int = 1
    can_flip: bool = True
    can_resize: bool = False
    keeps_alpha: bool = False
    needs_files: bool = False
    needs: tuple[str, ...] = ()
    projects: bool = False
    dataset_only: tuple[str, ...] = ()
    measured: Mapping[str, Measure] = {}
    saving_copies: float = 3.0
    strip_copies: float = 3.0

    @classmethod
    def builder(cls) -> Callable[..., Degradation]:
        """Return what builds it from options: its arguments, their types and ``Args:`` are the options' only place."""
        return cls

    @abstractmethod
    def degrade(self, gt: Tensor, generator: torch.Generator | None = None) -> Observed:
        """Return what is observed of one GT (C, H, W) in [0, 1], as :meth:`read` gives it of the file.

        Args:
            gt: Sides divisible by what the degradation needs.
            generator: Source of its random choices, if it makes any.
        """

    @abstractmethod
    def read(self, content: bytes, name: str) -> Observed:
        """Read an observation from the bytes of a user's file.

        Raises:
            TimError: It is no such file, or damaged; ``name`` and what is wrong are named.
        """

    def is_complete(self, observed: Observed) -> bool:
        """Tell whether an observation has every key of :attr:`needs`, so that it can be projected onto and measured."""
        return all(key in observed.given for key in self.needs)

    def require_complete(self, observed: Observed) -> None:
        """Raise TimError where an observation lacks a key of :attr:`needs`, which the projection needs."""
        if not self.is_complete(observed):
            raise TimError(
                f"network_g: consistency 'project' needs {', '.join(self.needs)} of each input, which this dataset "
                "does not give: use DegradedImageDataset, or consistency: off"
            )

    def encode(self, gt: Tensor, generator: torch.Generator | None = None) -> bytes:
        """Return the content of a file of one GT's observation, which :meth:`read` reads back.

        Args:
            gt: (C, H, W) in [0, 1], sides divisible by what the degradation needs.
            generator: Source of its random choices, if it makes any.
        """
        return encode_png(self.degrade(gt, generator).lq)

    def shrink(self, lq: Tensor, size: tuple[int, int]) -> Tensor:
        """Return an LQ (N, C, h, w) at the smaller ``size`` (h, w) of a lower level, by antialiased bicubic."""
        return bicubic_resize(lq, size)

    def given_at_level(self, observed: Observed, level_lq: Tensor | None, is_last: bool) -> Given | None:
        """Return what :meth:`project` needs at a level, or None where it cannot be applied: by default below the last.

        Args:
            observed: The whole observation, batched.
            level_lq: The LQ at the level's resolution.
            is_last: Whether the level's images are those that are asked for.
        """
        return {"lq": observed.lq, **observed.given} if is_last else None

    def project(self, images: Tensor, given: Given) -> Tensor:
        """Return the nearest images that are consistent with the observation; differentiable.

        Args:
            images: (N, C, H, W) nominally in [0, 1].
            given: From :meth:`given_at_level`, for N items.

        Raises:
            TimError: There is nothing to project onto (``projects`` is false).
        """
        raise TimError(f"consistency: {type(self).__name__.lower()} inputs give nothing to project onto: use off")

    def project_for_saving(self, images: Tensor, observed: Observed) -> Tensor:
        """Project so that images stay consistent when they are rounded to 8 bits.

        Args:
            images: (N, C, H, W) nominally in [0, 1].
            observed: What they are to be consistent with, batched.

        Returns:
            (N, C, H, W) in [0, 1], in steps of 1/255.
        """
        return round_to_8_bit(self.project(images, {"lq": observed.lq, **observed.given}))

    def saving_bytes(self, channels: int, height: int, width: int, on_disk: bool = False) -> int:
        """Return the bytes that :meth:`project_for_saving` of one image takes, all tensors counted.

        Args:
            channels: Of the image.
            height: Of the image, in pixels.
            width: Of the image, in pixels.
            on_disk: Whether the image lies on disk (:mod:`tim_plugin.utils.disk_tensors`); if it is very large, so do
                all others of its size.
        """
        values = channels * height * width
        if not is_very_large_size(values):
            return int(self.saving_copies * FLOAT_BYTES * values)
        return (0 if on_disk else 3 * FLOAT_BYTES * values) + self.strip_bytes(height, width)

    def strip_bytes(self, height: int, width: int) -> int:
        """Return the bytes that working on a very large image (in pixels) takes beside tensors of its own size."""
        return int(self.strip_copies * FLOAT_BYTES * STRIP_VALUES)

    def measure(self, images: Tensor, observed: Observed) -> dict[str, Tensor]:
        """Return (N,) for each of ``measured``: the consistency of images (N, C, H, W), as saved."""
        return {}

    def crop(self, observed: Observed, top: int, left: int, height: int, width: int) -> Observed:
        """Return a part of one observation; numbers are LQ pixels, ``top`` and ``left`` multiples of ``crop_step``."""
        return Observed(observed.lq[..., top : top + height, left : left + width].contiguous(), observed.given)

    def resize(self, observed: Observed, size: tuple[int, int]) -> Observed:
        """Resize one observation to ``size`` (h, w).

        Raises:
            TimError: It cannot be (``can_resize`` is false).
        """
        raise TimError(f"resize: {type(self).__name__.lower()} inputs cannot be resized: use none")

    def pixel_weight(self, observed: Observed) -> Tensor | None:
        """Return what each pixel of one GT counts in the loss, (1, H, W) with mean 1; None: all the same."""
        return None

    def picture(self, lq: Tensor) -> Tensor:
        """Return an LQ (C, h, w) as a picture (3, h, w) in [0, 1]."""
        return lq.clamp(0, 1).expand(3, -1, -1)

    def require_same(self, stored: Mapping[str, Any], where: str) -> None:
        """Raise TimError if a checkpoint's degradation, as :meth:`portable` stored it, reads inputs in another way."""
        return

    def portable(self) -> dict[str, Any]:
        """Return options that rebuild this without the files that it was made from, in place of those it was given."""
        return {}
