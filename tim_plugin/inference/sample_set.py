"""The samples of one input, or of each input of a batch, as :meth:`tim_plugin.Tower.sample` returns them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from tim_plugin.inference.image_samples import SampledImage
from tim_plugin.inference.outputs import OutputFiles, SampleWriter, output_files, sheet_row
from tim_plugin.inference.record import RECORD, Entry, SampleRecord
from tim_plugin.inference.variety import most_different
from tim_plugin.options.plain_checks import shown
from tim_plugin.utils.background import Writer
from tim_plugin.utils.contact_sheet import contact_sheet
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.folder_lock import locked
from tim_plugin.utils.images import to_pixels
from tim_plugin.utils.names import fitting_name, require_path
from tim_plugin.utils.plain_numbers import is_whole, plain_number


@dataclass(frozen=True)
class DrawnFrom:
    """What samples depend on beside their input; ``samples.json`` holds it.

    Attributes:
        header: What the file says before its images.
        made_with: Of each entry, without the input's digest.
        num_drawn: How many samples were drawn, which their files' names have digits for.
    """

    header: Mapping[str, Any]
    made_with: Mapping[str, Any]
    num_drawn: int


class InputSamples(NamedTuple):
    """The samples of one input.

    Attributes:
        key: What they are drawn by, beside seed and number: the file's name without suffix.
        source: The input, for the record.
        sha256: Of its content.
        picture: The input as a picture, (3, h, w) in [0, 1].
        images: (n, C, H, W) in [0, 1], on the 8-bit grid.
        alpha: (1, h, w) in [0, 1] that the saved files get back; or None.
        consistency: How well each degrades to the input, (n,) by measure.
        backend: What computed them, with its version, for the record.
    """

    key: str
    source: str
    sha256: str
    picture: Tensor
    images: Tensor
    alpha: Tensor | None
    consistency: Mapping[str, Tensor]
    backend: str


class Samples:
    """Samples of one input, or of each of N inputs that were given as a batch (N, 3, H, W).

    Args:
        inputs: Of each input, samples of one size.
        numbers: Which samples these are, of those that were drawn.
        seeds: See below.
        drawn_from: What they depend on.
        is_batch: Whether the input had a batch dimension.

    Attributes:
        seeds: For each sample, and for each level coarse to fine, from which sample's number its latents are drawn:
            latents are a function of (``seed``, the input's name, that number, the level).

    Example::

        out = tim_plugin.load("sr16x-small").sample("thumb.png", n=8)
        out.images                       # (8, 3, H, W) in [0, 1]
        out.consistency["lr_psnr"]       # (8,)
        out.most_different(4).save("results/")
        out.contact_sheet().save("sheet.png")
    """

    def __init__(
        self,
        inputs: Sequence[InputSamples],
        numbers: Sequence[int],
        seeds: Sequence[Sequence[int]],
        drawn_from: DrawnFrom,
        is_batch: bool,
    ) -> None:
        self.inputs, self.numbers, self.drawn_from, self.is_batch = list(inputs), list(numbers), drawn_from, is_batch
        self.seeds = [list(levels) for levels in seeds]

    @property
    def images(self) -> Tensor:
        """(n, C, H, W), for a batch (N, n, C, H, W), in [0, 1], on the 8-bit grid, as files hold them; on the CPU."""
        return self._stacked([one.images for one in self.inputs])

    @property
    def consistency(self) -> dict[str, Tensor]:
        """How well each sample degrades to its input, by measure: (n,), for a batch (N, n).

        Empty where the degradation is not known or compares nothing; :attr:`Tower.degradation` says units and which
        direction is better.
        """
        measures = self.inputs[0].consistency
        return {name: self._stacked([one.consistency[name] for one in self.inputs]) for name in measures}

    @property
    def seed(self) -> int:
        """The seed that they were drawn with."""
        return self.drawn_from.made_with["seed"]

    @property
    def names(self) -> list[str]:
        """The name of each input, by which its samples are drawn and saved."""
        return [one.key for one in self.inputs]

    def _stacked(self, of_inputs: list[Tensor]) -> Tensor:
        return torch.stack(of_inputs) if self.is_batch else of_inputs[0]

    def __len__(self) -> int:
        """Return the number n of samples of each input."""
        return len(self.numbers)

    def __repr__(self) -> str:
        return f"Samples(images={tuple(self.images.shape)}, names={self.names}, seed={self.seed})"

    def of_input(self, index: int) -> Samples:
        """Return the samples of one input of a batch, without the batch dimension.

        Raises:
            TimError: There is no such input.
        """
        (place,) = _places("of_input", [index], len(self.inputs))
        return Samples([self.inputs[place]], self.numbers, self.seeds, self.drawn_from, is_batch=False)

    def take(self, indices: Sequence[int]) -> Samples:
        """Return some of the samples, by their places in ``images``; saved, they keep the names that they have here.

        Args:
            indices: A list, or a one-dimensional array or tensor of whole numbers; each sample once.

        Raises:
            TimError: There is no such sample, or one is named twice.
        """
        indices = _places("take", indices, len(self))
        for index in indices:
            if indices.count(index) > 1:
                raise TimError(f"take {shown(indices)}: names sample {index} more than once: give each once")
        chosen = torch.tensor(indices, dtype=torch.int64)
        inputs = [
            one._replace(
                images=one.images[chosen],
                consistency={name: values[chosen] for name, values in one.consistency.items()},
            )
            for one in self.inputs
        ]
        numbers, seeds = ([every[index] for index in indices] for every in (self.numbers, self.seeds))
        return Samples(inputs, numbers, seeds, self.drawn_from, self.is_batch)

    def most_different(self, k: int) -> Samples:
        """Return k samples that lie far from one another, in the distance of ``tim_small``, which the package holds.

        The two that are farthest apart come first; each next one is that whose nearest chosen sample is farthest
        (farthest-point choice, Gonzalez 1985).

        Args:
            k: From 1 to the number of samples.

        Raises:
            TimError: There are fewer samples, or those of several inputs.
        """
        if self.is_batch:
            raise TimError("most_different chooses among samples of one input: take one of the batch, of_input(0)")
        k = plain_number(k)
        if not is_whole(k) or not 1 <= k <= len(self):
            raise TimError(
                f"most_different({k!r}): k must be a whole number from 1 to {len(self)}, the number of samples"
            )
        return self.take(most_different(self.inputs[0].images, k))

    def contact_sheet(self) -> Image.Image:
        """Return a picture with a row for each input: input, samples, where the samples differ.

        It is a PIL image; ``.save("sheet.png")`` writes it.

        Raises:
            TimError: There are no samples.
        """
        self._require_some("contact_sheet")
        return Image.fromarray(to_pixels(self._sheet(self.inputs)))

    def save(self, folder: str | Path, with_contact_sheet: bool = True) -> list[Path]:
        """Write ``NAME_s00.png ...``, ``NAME_sheet.png`` and the record ``samples.json``, as ``tim sample`` does.

        Args:
            folder: Made if it does not exist; what else its ``samples.json`` records stays there.
            with_contact_sheet: Write the sheet.

        Returns:
            The samples' files, input by input.

        Raises:
            TimError: There are no samples, a file cannot be written, or another process writes to the folder.
        """
        folder = require_path("folder", folder, 'give the path of a folder, such as "results"')
        self._require_some("save")
        written = []
        with (
            locked(folder, str(folder)),
            SampleRecord(folder / RECORD, self.drawn_from.header) as record,
            Writer() as writer,
        ):
            for one in self.inputs:
                files = self._files(one, folder, with_contact_sheet)
                record.overwrite(files.all(), one.source)
                image_writer = SampleWriter(writer, files, one.alpha, shrink=False)
                image_writer.add(one.images)
                image_writer.finish(one.key, one.picture)
                writer.end_group(partial(record.add, self._entry(one, files)))
                written += files.samples
        return written

    def _require_some(self, call: str) -> None:
        if not self.numbers:
            raise TimError(f"{call}: there are no samples: none of them was taken")

    def _files(self, one: InputSamples, folder: Path, with_contact_sheet: bool) -> OutputFiles:
        files = output_files(folder, fitting_name(one.key), self.drawn_from.num_drawn, with_contact_sheet)
        return files._replace(samples=[files.samples[number] for number in self.numbers])

    def _sheet(self, inputs: Sequence[InputSamples]) -> Tensor:
        return contact_sheet([sheet_row(SampledImage(one.key, one.picture, one.images, None)) for one in inputs])

    def _entry(self, one: InputSamples, files: OutputFiles) -> Entry:
        """An input's entry of the record, as ``tim sample`` writes it."""
        samples = [
            {
                "file": path.name,
                "seed": self.seed,
                "level_seeds": levels,
                **{name: round(float(values[index]), 4) for name, values in one.consistency.items()},
            }
            for index, (path, levels) in enumerate(zip(files.samples, self.seeds, strict=True))
        ]
        made_with = {**self.drawn_from.made_with, "input_sha256": one.sha256}
        sheet = None if files.sheet is None else files.sheet.name
        about = {"input": one.source, "made_with": made_with, "backend": one.backend}
        return {**about, "samples": samples, "sheet": sheet}


def _places(call: str, given: Any, count: int) -> list[int]:
    """Return places among so many as plain numbers from 0; negative ones count from the end.

    Raises:
        TimError: One is no whole number, or too large.
    """
    values = given.tolist() if hasattr(given, "tolist") else given
    if isinstance(values, Iterable) and not isinstance(values, (str, bytes)):
        values = [plain_number(one) for one in values]
        if all(is_whole(one) and -count <= one < count for one in values):
            return [one % count for one in values]
    raise TimError(f"{call} {shown(values)}: give whole numbers from 0 to {count - 1}")
