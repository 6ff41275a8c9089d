"""Where the samples of an image go: ``STEM_s00.png ...`` and a contact sheet ``STEM_sheet.png``."""

from __future__ import annotations

from pathlib import Path

from tim_plugin.inference.samples import SampledImage
from tim_plugin.utils.contact_sheet import SheetRow, contact_sheet
from tim_plugin.utils.images import write_png


def save_samples(sampled: SampledImage, folder: Path, stem: str, with_contact_sheet: bool = True) -> list[Path]:
    """Write an image's samples and, if wanted, its contact sheet.

    Args:
        sampled: The samples, in [0, 1].
        folder: Made if it does not exist.
        stem: Files are ``STEM_s00.png``, ``STEM_s01.png`` ... and ``STEM_sheet.png``.
        with_contact_sheet: Input, samples, their deviation and GT side by side.

    Returns:
        The samples' files, in order.

    Raises:
        OSError: A file cannot be written.
    """
    paths = sample_paths(folder, stem, len(sampled.samples))
    for path, image in zip(paths, sampled.samples, strict=True):
        write_png(path, image)
    if with_contact_sheet:
        write_png(sheet_path(folder, stem), contact_sheet([sheet_row(sampled)]))
    return paths


def sample_paths(folder: Path, stem: str, num_samples: int) -> list[Path]:
    """Return where the samples of an image go, in order."""
    digits = max(2, len(str(num_samples - 1)))
    return [folder / f"{stem}_s{number:0{digits}d}.png" for number in range(num_samples)]


def sheet_path(folder: Path, stem: str) -> Path:
    """Return where the contact sheet of an image goes."""
    return folder / f"{stem}_sheet.png"


def sheet_row(sampled: SampledImage) -> SheetRow:
    """Return an image's row of a contact sheet: alpha left out, grey as RGB."""
    gt = None if sampled.gt is None else sampled.gt.expand(3, -1, -1)
    return SheetRow(sampled.lq, sampled.samples[:, :3].expand(-1, 3, -1, -1), gt, sampled.name)
