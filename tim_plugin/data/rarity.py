"""How rare an image's colours are, for each class of its label map: rebalances layouts and weighs their loss.

After conditional IMLE for layouts (Li et al. 2020, whose recipe the paper follows): for each class, the mean colours of
that class in all images give a Gaussian kernel density estimate; an image is as rare in that class as its density is
low. Drawing images by rarity, and weighing each pixel by its class's, keeps the common look (grey roads, dull skies)
from being all that is learned.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tim_plugin.utils.errors import TimError
from tim_plugin.utils.images import read_bytes
from tim_plugin.utils.json_files import parse_checked, with_checksum
from tim_plugin.utils.writing import write_atomically

BANDWIDTH = 0.1  # of mean colours in [0, 1]
_SHAPE = {
    "scores": [[float]],
    "sources": [[str, int, str, int, str]],
    "palette": dict,
    "computed_at": float,
}
_COMMAND = "python tools/prepare_data.py layouts"
AT_ONCE = 1024  # images whose densities are computed together


class MeanColours(NamedTuple):
    """Of one image: ``means`` (C, 3), the mean RGB of each class, and ``present`` (C,), which classes it shows."""

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
        scores: (M, C) of :func:`rarity_scores`.
        sources: For each pair [image name, bytes, label map name, bytes, digest of both contents]; the digest is empty
            and the scores are 0 where the pair could not be measured.
        palette: The kind of label maps, as :meth:`tim_plugin.degradations.labels.Labels.describe` returns it.
        computed_at: When, in seconds since 1970: contents of files that are older are not read to see whether they have
            changed.
    """

    scores: Tensor
    sources: list[list[Any]]
    palette: dict[str, Any]
    computed_at: float = 0.0

    @cached_property
    def probabilities(self) -> Tensor:
        """Probability (M,) of images, where a class is drawn first, then an image by its rarity in it."""
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
        content = {"palette": self.palette, "computed_at": self.computed_at, "sources": self.sources}
        content["scores"] = self.scores.tolist()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, (json.dumps(with_checksum(content)) + "\n").encode())
        except OSError as error:
            raise TimError(f"{path}: cannot be written: {error}") from error

    @classmethod
    def load(cls, path: Path) -> Rarity:
        """Read a file that :meth:`save` wrote.

        Raises:
            TimError: There is no such file, or it is damaged.
        """
        if not path.is_file():
            raise TimError(f"rarity: file {path}: there is no such file; {_COMMAND} writes it")
        try:
            content = parse_checked(path.read_bytes(), _SHAPE)
            scores = torch.tensor(content["scores"], dtype=torch.float64)
            if scores.ndim != 2 or len(scores) != len(content["sources"]):
                raise ValueError(f"has scores of {len(scores)} images for {len(content['sources'])}")
            return cls(scores, content["sources"], content["palette"], float(content["computed_at"]))
        except (OSError, ValueError) as error:
            raise TimError(f"rarity: file {path} is damaged ({error}); write it again: {_COMMAND}") from error

    def check(self, pairs: Sequence[tuple[Path, Path]], palette: Mapping[str, Any]) -> None:
        """Raise TimError if the scores are those of other files, of files that have changed, or of another palette."""
        if dict(palette) != self.palette:
            raise TimError(
                f"rarity: is stale: it was computed with {self.palette}, not {dict(palette)}: run {_COMMAND} again"
            )
        for pair, known in zip(pairs, self.sources, strict=False):
            if self._has_changed(pair, known):
                what = f"{pair[0].name} or its label map {pair[1].name} is new or has changed"
                raise TimError(f"rarity: is stale: {what}: run {_COMMAND} again")
        if len(pairs) != len(self.sources):
            what = "files were added" if len(pairs) > len(self.sources) else "files are missing"
            raise TimError(f"rarity: is stale: {what}: run {_COMMAND} again")

    def _has_changed(self, pair: tuple[Path, Path], known: Sequence[Any]) -> bool:
        *size_now, image_time, label_time = fingerprint_of(*pair)
        if size_now != list(known[:4]):
            return True
        newer = max(image_time, label_time) >= self.computed_at
        return newer and digest_of(read_bytes(pair[0]), read_bytes(pair[1])) != known[4]


def fingerprint_of(image: Path, label: Path) -> list[Any]:
    """Return what identifies the state of a pair of files: names, sizes in bytes, times of modification.

    Args:
        image: The photograph.
        label: Its label map.

    Returns:
        ``[image name, bytes, label name, bytes, time of the image, time of the label map]``, times in seconds.

    Raises:
        TimError: A file cannot be read.
    """
    try:
        states = [path.stat() for path in (image, label)]
    except OSError as error:
        raise TimError(f"{error.filename}: cannot be read: {error.strerror}") from error
    sizes, times = [state.st_size for state in states], [state.st_mtime for state in states]
    return [image.name, sizes[0], label.name, sizes[1], *times]


def digest_of(image: bytes, label: bytes) -> str:
    """Return a hash (32 hexadecimal digits) of the contents of a photograph and its label map."""
    return hashlib.blake2b(image + label, digest_size=16).hexdigest()
