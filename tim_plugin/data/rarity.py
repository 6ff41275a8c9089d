"""How rare an image's colours are, for each class of its label map: rebalances layouts and weighs their loss.

After conditional IMLE for layouts (Li et al. 2020, whose recipe the paper follows): for each class, the mean colours of
that class in all images give a Gaussian kernel density estimate; an image is as rare in that class as its density is
low. Drawing images by rarity, and weighing each pixel by its class's, keeps the common look (grey roads, dull skies)
from being all that is learned.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.utils import track_parallel_progress, track_progress
from torch import Tensor

from tim_plugin.data.pairs import pair_files
from tim_plugin.data.prepare import start_worker
from tim_plugin.degradations.labels import Labels
from tim_plugin.errors import TimError
from tim_plugin.images import list_images, read_bytes, read_image, write_atomically

BANDWIDTH = 0.1  # of mean colours in [0, 1]
COMMAND = "python tools/prepare_data.py layouts"
AT_ONCE = 1024  # images whose densities are computed together


class MeanColours(NamedTuple):
    """Of one image: mean RGB of each class (C, 3), and which classes it shows (C,)."""

    means: Tensor
    present: Tensor


def mean_colours(image: Tensor, one_hot: Tensor) -> MeanColours:
    """Return the mean colours of an image (3, H, W) in [0, 1] within each class of its label map (C, H, W)."""
    counts = one_hot.flatten(1).sum(dim=1)
    sums = torch.einsum("chw,dhw->cd", one_hot.double(), image.double())
    return MeanColours(sums / counts.clamp_min(1)[:, None], counts > 0)


def rarity_scores(means: Tensor, present: Tensor, bandwidth: float = BANDWIDTH) -> Tensor:
    """Return how rare each of M images is in each class.

    Args:
        means: (M, C, 3) mean colours.
        present: (M, C): which classes an image shows.
        bandwidth: Standard deviation of the kernel, in units of [0, 1].

    Returns:
        (M, C) float64: 1 / density, scaled so that the mean over the images that show a class is 1; 0 where it is not
        shown.
    """
    scores = torch.zeros(present.shape, dtype=torch.float64)
    for index in range(present.shape[1]):
        shown = present[:, index].nonzero().flatten()
        if len(shown):
            rarity = 1 / _densities(means[shown, index].double(), bandwidth)
            scores[shown, index] = rarity / rarity.mean()
    return scores


def _densities(points: Tensor, bandwidth: float) -> Tensor:
    """Gaussian kernel density at each of (n, 3) points, up to a constant."""
    parts = [torch.cdist(part, points).square() for part in points.split(AT_ONCE)]
    return torch.cat([torch.exp(-part / (2 * bandwidth**2)).mean(dim=1) for part in parts])


@dataclass(frozen=True)
class Rarity:
    """Scores of a dataset's images, and what they were computed from.

    Attributes:
        scores: (M, C), see :func:`rarity_scores`.
        sources: For each pair [image name, bytes, label map name, bytes].
        palette: What kind of label maps, see :meth:`tim_plugin.degradations.labels.Labels.describe`.
    """

    scores: Tensor
    sources: list[list[Any]]
    palette: dict[str, Any]

    @cached_property
    def probabilities(self) -> Tensor:
        """(M,): a class is drawn among those that occur, then an image by its rarity in that class."""
        totals = self.scores.sum(dim=0)
        shown = totals > 0
        return (self.scores[:, shown] / totals[shown]).mean(dim=1)

    def weight_map(self, index: int, one_hot: Tensor) -> Tensor:
        """Return what each pixel of image ``index`` counts: (1, H, W), mean 1 over the pixels that have a class.

        Pixels of masked void, which have no class in ``one_hot`` (C, H, W), count 0.
        """
        weights = torch.einsum("c,chw->hw", self.scores[index].to(one_hot), one_hot)
        classed = one_hot.sum()
        mean = weights.sum() / classed.clamp_min(1)
        return (weights / mean.clamp_min(torch.finfo(weights.dtype).tiny))[None]

    def save(self, path: Path) -> None:
        """Write as JSON, whole or not at all.

        Raises:
            TimError: It cannot be written.
        """
        content = {"palette": self.palette, "sources": self.sources, "scores": self.scores.tolist()}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, (json.dumps(content) + "\n").encode())
        except OSError as error:
            raise TimError(f"{path}: cannot be written: {error}") from error

    @classmethod
    def load(cls, path: Path) -> Rarity:
        """Read what :meth:`save` wrote.

        Raises:
            TimError: There is no such file, or it is damaged.
        """
        if not path.is_file():
            raise TimError(f"rarity: file {path}: there is no such file; {COMMAND} writes it")
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            scores = torch.tensor(content["scores"], dtype=torch.float64)
            return cls(scores, content["sources"], content["palette"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise TimError(f"rarity: file {path} is damaged; write it again: {COMMAND}") from error

    def check(self, pairs: Sequence[tuple[Path, Path]], palette: Mapping[str, Any]) -> None:
        """Raise TimError if the scores are those of other files, of files that have changed, or of another palette."""
        if dict(palette) != self.palette:
            raise TimError(
                f"rarity: is stale: it was computed with {self.palette}, not {dict(palette)}: run {COMMAND} again"
            )
        now = [_source(*pair) for pair in pairs]
        if now != self.sources:
            changed = next((a for a, b in zip(now, self.sources, strict=False) if a != b), None)
            what = (
                f"{changed[0]} or its label map {changed[2]} is new or has changed" if changed else "files were added"
            )
            what = what if len(now) >= len(self.sources) or changed else "files are missing"
            raise TimError(f"rarity: is stale: {what}: run {COMMAND} again")


def _source(image: Path, label: Path) -> list[Any]:
    try:
        return [image.name, image.stat().st_size, label.name, label.stat().st_size]
    except OSError as error:
        raise TimError(f"{error.filename}: cannot be read: {error.strerror}") from error


def compute_rarity(
    images: Path,
    maps: Path,
    labels: Labels,
    bandwidth: float = BANDWIDTH,
    workers: int = 1,
) -> Rarity:
    """Compute the scores of all images of a folder, in parallel, with a progress bar.

    Args:
        images: Folder of photographs.
        maps: Folder of label maps of the same names, see :func:`tim_plugin.data.pairs.pair_files`.
        labels: Reads them.
        bandwidth: See :func:`rarity_scores`.
        workers: Processes.

    Raises:
        TimError: A file is missing or damaged, or a label map has another size than its photograph.
    """
    files = list_images(images)
    pairs = list(zip(files, pair_files(files, maps), strict=True))
    task = partial(_colours_of, labels)
    if min(workers, len(pairs)) == 1:
        found = track_progress(task, pairs)
    else:
        found = track_parallel_progress(task, pairs, min(workers, len(pairs)), initializer=start_worker)
    problems = [one for one in found if isinstance(one, str)]
    if problems:
        raise TimError(problems[0])
    means, present = (torch.stack(parts) for parts in zip(*found, strict=True))
    return Rarity(rarity_scores(means, present, bandwidth), [_source(*pair) for pair in pairs], labels.describe())


def _colours_of(labels: Labels, pair: tuple[Path, Path]) -> MeanColours | str:
    """Return a pair's mean colours, or what is wrong with it (an exception would end the progress bar's workers)."""
    try:
        image, one_hot = read_image(pair[0]).rgb, labels.read(read_bytes(pair[1]), str(pair[1])).lq
    except TimError as error:
        return str(error)
    if image.shape[-2:] != one_hot.shape[-2:]:
        sizes = [f"{part.shape[-1]}x{part.shape[-2]}" for part in (image, one_hot)]
        return f"{pair[0]}: is {sizes[0]}, but its label map {pair[1]} is {sizes[1]}"
    return mean_colours(image, one_hot)
