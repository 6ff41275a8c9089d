"""Where the samples of an image go and how they are written: ``STEM_s00.png ...`` and a contact sheet."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tim_plugin.inference.image_samples import SampledImage
from tim_plugin.inference.png_rows import write_very_large
from tim_plugin.inference.shown_samples import ShownSamples
from tim_plugin.utils.background import Writer
from tim_plugin.utils.contact_sheet import SheetRow, contact_sheet
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.images import to_pixels, write_pixels, write_png
from tim_plugin.utils.memory import in_memory
from tim_plugin.utils.resize import bicubic_resize
from tim_plugin.utils.strips import is_very_large


class OutputFiles(NamedTuple):
    """The files of one image's samples, in order, and of its contact sheet; None: none is written."""

    samples: list[Path]
    sheet: Path | None

    def all(self) -> list[Path]:
        """Return every file, the samples first."""
        return self.samples if self.sheet is None else [*self.samples, self.sheet]


def output_files(
    folder: Path, stem: str, num_samples: int, with_contact_sheet: bool = True, suffix: str = ".png"
) -> OutputFiles:
    """Return ``STEM_s00.png``, ``STEM_s01.png`` ... and ``STEM_sheet.png`` in a folder; ``suffix`` is the samples'."""
    digits = max(2, len(str(num_samples - 1)))
    samples = [folder / f"{stem}_s{number:0{digits}d}{suffix}" for number in range(num_samples)]
    return OutputFiles(samples, folder / f"{stem}_sheet.png" if with_contact_sheet else None)


def save_samples(sampled: SampledImage, folder: Path, stem: str, with_contact_sheet: bool = True) -> list[Path]:
    """Write an image's samples and, if wanted, its contact sheet.

    Args:
        sampled: The samples, in [0, 1].
        folder: Made if it does not exist.
        stem: See :func:`output_files`.
        with_contact_sheet: Input, samples, their deviation and GT side by side.

    Returns:
        The samples' files, in order.

    Raises:
        OSError: A file cannot be written.
    """
    files = output_files(folder, stem, len(sampled.samples), with_contact_sheet)
    for path, image in zip(files.samples, sampled.samples, strict=True):
        write_png(path, image)
    if files.sheet is not None:
        write_png(files.sheet, contact_sheet([sheet_row(sampled)]))
    return files.samples


def sheet_row(sampled: SampledImage) -> SheetRow:
    """Return an image's row of a contact sheet: alpha left out, grey as RGB."""
    gt = None if sampled.gt is None else sampled.gt.expand(3, -1, -1)
    return SheetRow(sampled.lq, sampled.samples[:, :3].expand(-1, 3, -1, -1), gt, sampled.name)


class SampleWriter:
    """Writes one image's samples as they come, in the threads of a :class:`Writer`, and its contact sheet at the end.

    Args:
        writer: Raises TimError, by a later call, for a file that cannot be written.
        files: Where the samples go.
        alpha: (1, h, w) in [0, 1], enlarged bicubically and put into each sample; None: there is none.
        shrink: See :class:`tim_plugin.inference.shown_samples.ShownSamples`.
    """

    def __init__(self, writer: Writer, files: OutputFiles, alpha: Tensor | None, shrink: bool) -> None:
        self.writer, self.files, self.alpha = writer, files, alpha
        self._waiting = iter(files.samples)
        self._shown = ShownSamples(len(files.samples), shrink)

    def add(self, samples: Tensor) -> None:
        """Write the next samples (m, C, H, W) in [0, 1]; those that are very large, row by row."""
        if is_very_large(samples):
            for sample in samples:
                self._write(write_very_large, next(self._waiting), sample, self.alpha, most_waiting=1)
        else:
            samples = with_alpha(samples, self.alpha)
            for sample in samples:
                self._write(write_pixels, next(self._waiting), to_pixels(sample))
        if self.files.sheet is not None:
            self._shown.add(samples)

    def finish(self, name: str, picture: Tensor) -> SampledImage | None:
        """Write the contact sheet, if one is wanted.

        Args:
            name: Of the image, as the sheet shows it.
            picture: The input as a picture (3, h, w) in [0, 1].

        Returns:
            The first samples, as many as stand in a line of the sheet; None without a sheet.
        """
        if self.files.sheet is None:
            return None
        self._write(write_pixels, self.files.sheet, to_pixels(contact_sheet([self._shown.row(picture, name)])))
        return SampledImage(name, picture, self._shown.first(), None)

    def _write(self, write: Callable[..., None], path: Path, *content: Any, **options: int) -> None:
        self.writer.write(write_or_say, write, path, *content, **options)


def write_or_say(write: Callable[..., None], path: Path, *content: Any) -> None:
    """Call ``write(path, *content)``.

    Raises:
        TimError: It raised OSError, or memory ran out.
    """
    try:
        if in_memory(lambda: (write(path, *content),)) is None:
            raise TimError(f"{path}: cannot be written: memory ran out: lower --memory-gib or --batch")
    except OSError as error:
        raise TimError(f"{path}: cannot be written: {error.strerror or error}") from error


def with_alpha(samples: Tensor, alpha: Tensor | None) -> Tensor:
    """Return samples (n, C, H, W) with the input's alpha (1, h, w), enlarged bicubically; None: as they are."""
    if alpha is None:
        return samples
    alpha = bicubic_resize(alpha, tuple(samples.shape[-2:])).clamp(0, 1)
    return torch.cat([samples.expand(-1, 3, -1, -1), alpha.expand(len(samples), -1, -1, -1)], dim=1)  # (n, 4, H, W)
