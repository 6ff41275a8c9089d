"""The gallery: of each tower typical, best and failed answers, chosen by a rule and never by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from basicsr.data import build_dataset
from torch import nn
from torch.utils.data import DataLoader, Subset

from paper.workbench import AT_ONCE, SAMPLING_SEED
from tim_plugin.inference.image_samples import sample_loader
from tim_plugin.inference.outputs import sheet_row
from tim_plugin.utils.contact_sheet import SheetRow, contact_sheet
from tim_plugin.utils.images import write_jpeg
from tim_plugin.utils.writing import write_atomically

SHOWN = {"typical": 3, "best": 2, "failed": 2}
SHOWN_SAMPLES = 5
FOLDER, PAGE = "gallery", "gallery.md"
RULE = """Of each set of held-out photographs: typical are those about the median of the ratio of the samples' mean
distance to that of what is had without a network, best those of the smallest, failed those of the largest
([by an independent judge](judged.md), of as many inputs as it was given). Input, five samples, where all eight differ,
and the original. None was chosen by hand."""


MOVING = [  # made by tools/make_moving_picture.py
    "![An input of 8x8 pixels and two moving answers: all levels vary; the two coarse levels are kept]"
    "(../flowers-sr16x.png)",
    "",
    "*A walk through the latents of an input that is typical on its card: of all levels, and of the two finest alone.*",
]


class Compared(NamedTuple):
    """An input of a data set: its ``index``, and the ``ratio`` of its samples' distance to the trivial image's."""

    index: int
    ratio: float


def chosen(compared: Sequence[Compared], counts: Mapping[str, int] = SHOWN) -> list[tuple[str, int]]:
    """Return labels and indices of typical, best and failed inputs, so many of each; no input twice."""
    ranked = sorted(compared, key=lambda one: one.ratio)
    middle = max((len(ranked) - counts["typical"]) // 2, 0)
    behind = middle + counts["typical"]
    parts = {
        "typical": ranked[middle:behind],
        "best": ranked[:middle][: counts["best"]],
        "failed": ranked[behind:][-counts["failed"] :],
    }
    return [(label, one.index) for label, found in parts.items() for one in found]


def write_sheet(
    path: Path,
    network: nn.Module,
    section: Mapping[str, Any],
    compared: Sequence[Compared],
    num_samples: int,
    device: Any = "cpu",
) -> None:
    """Write a tower's contact sheet of :func:`chosen` inputs.

    Args:
        path: A JPEG.
        network: In eval mode.
        section: Of the data set.
        compared: Of its inputs.
        num_samples: Of each input, of which the first few are shown.
        device: The network's.
    """
    labels, indices = zip(*chosen(compared), strict=True)
    places = {one.index: place for place, one in enumerate(compared)}  # which the samples that were judged are keyed by
    rows = sampled_rows(network, section, indices, num_samples, device, [places[index] for index in indices])
    rows = [row._replace(label=f"{label}: {row.label}") for label, row in zip(labels, rows, strict=True)]
    write_jpeg(path, contact_sheet(rows, max_samples=SHOWN_SAMPLES))


def sampled_rows(
    network: nn.Module,
    section: Mapping[str, Any],
    indices: Sequence[int],
    num_samples: int,
    device: Any,
    keys: Sequence[int] | None = None,
) -> list[SheetRow]:
    """Return rows of a contact sheet: so many samples of each of a data set's images at ``indices``.

    Args:
        network: In eval mode.
        section: Of the data set.
        indices: Of the images.
        num_samples: Of each image.
        device: The network's.
        keys: What each image's latents are drawn by; None: its index.
    """
    loader = DataLoader(Subset(build_dataset(dict(section)), indices))
    sampled = sample_loader(
        network, loader, num_samples, SAMPLING_SEED, device, AT_ONCE, indices=indices if keys is None else keys
    )
    return [sheet_row(one) for one, _ in sampled]


def write_page(folder: Path, looks: Mapping[str, str]) -> None:
    """Write the page of all sheets that are there.

    Args:
        folder: ``docs/models``.
        looks: By tower: what a stranger would see, in one sentence.
    """
    lines = ["# Gallery", "", RULE, "", *MOVING]
    for name, sentence in looks.items():
        sheets = sorted((folder / FOLDER).glob(f"{name}_*.jpg"))
        if sheets:
            lines += ["", f"## {name}", "", f"{sentence} [Its card]({name}.md)."]
        for sheet in sheets:
            what = sheet.stem.removeprefix(f"{name}_")
            lines += ["", f"![Typical, best and failed answers of {name} on {what}]({FOLDER}/{sheet.name})"]
    write_atomically(folder / PAGE, ("\n".join(lines) + "\n").encode())
