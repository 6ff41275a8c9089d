"""One input with its samples at a time: from folders of files, or sampled by a network."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from tim_plugin.data.pairs import pair_files
from tim_plugin.degradations.base import Degradation, Measure, Observed
from tim_plugin.inference.finishing import measure_consistency
from tim_plugin.metrics.origins import require_one_origin
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.images import images_of, read_bytes, read_image, round_to_8_bit
from tim_plugin.utils.memory import in_memory
from tim_plugin.utils.metric_names import PATTERN
from tim_plugin.utils.trees import map_tensors


class Case(NamedTuple):
    """One input.

    Attributes:
        name: Of its file, without suffix.
        samples: (n, 3, H, W) in [0, 1], on the 8-bit grid.
        gt: (3, H, W) in [0, 1].
        consistency: Measures of consistency with the input, a value for each sample; empty where the input is unknown.
        lq: The input as a picture, (3, h, w) in [0, 1]; None where it is unknown.
    """

    name: str
    samples: Tensor
    gt: Tensor
    consistency: Mapping[str, list[float]]
    lq: Tensor | None = None


class Cases:
    """Inputs with their samples, of which some may be left out.

    Attributes:
        left_out: Why an input was left out, with the name of its file.
        has_inputs: Whether the cases have their ``lq``.
    """

    has_inputs = True

    def __init__(self) -> None:
        self.left_out: list[str] = []

    def leave_out(self, problem: str) -> None:
        """Leave an input out and say why."""
        tqdm.write(f"skipped: {problem}", file=sys.stderr)
        self.left_out.append(problem)


class FolderCases(Cases):
    """The samples of any method, as files.

    Args:
        pred: Folder of samples.
        gt: Folder of ground truths; each has samples.
        pattern: The samples' file names without suffix, with ``{name}`` (of the GT) and ``{index}`` (a number); without
            ``{index}`` there is one sample of each; ``{name}/{index}`` has a folder for each.
        degradation: Measures consistency with the input; None measures none. What its scale does not divide is cut off
            at the right and at the bottom of GTs and samples before anything is measured, as the NTIRE challenges do.
        lq: Folder of inputs, of the GTs' names; None degrades the GT.

    Raises:
        TimError: A folder, or a GT's samples, or an input is not there; or the numbers of samples differ, or how a
            ``samples.json`` says that they were made.
    """

    def __init__(
        self,
        pred: Path,
        gt: Path,
        pattern: str = PATTERN,
        degradation: Degradation | None = None,
        lq: Path | None = None,
    ) -> None:
        super().__init__()
        self.degradation, self.has_inputs = degradation, degradation is not None
        self.gts = _by_stem(listed(gt, "--gt"), gt)
        self.samples = _grouped(listed(pred, "--pred", pattern.count("/")), pattern, set(self.gts), pred)
        self.num_samples = self._samples_of_each(pred, pattern)
        require_one_origin(pred, self.samples)
        self.inputs = {}
        if lq is not None:
            self.inputs = dict(zip(self.gts, pair_files(list(self.gts.values()), lq.expanduser()), strict=True))

    def _samples_of_each(self, pred: Path, pattern: str) -> int:
        """Return how many samples each GT has.

        Raises:
            TimError: A GT has none, or another number than the first.
        """
        missing = sorted(set(self.gts) - set(self.samples))
        if missing:
            raise TimError(
                f"--pred {pred}: holds no samples of {self.gts[missing[0]].name} ({len(missing)} of {len(self.gts)} "
                f"ground truths have none): they are to be named {pattern.format(name=missing[0], index='00')}.png"
            )
        counts = {name: len(files) for name, files in self.samples.items()}
        first, count = next(iter(counts.items()))
        odd = next((name for name in counts if counts[name] != count), None)
        if odd is not None:
            raise TimError(
                f"--pred {pred}: holds {counts[odd]} samples of {odd}, but {count} of {first}: each needs as many"
            )
        return count

    @property
    def measured(self) -> Mapping[str, Measure]:
        """The measures of consistency that the cases have."""
        return {} if self.degradation is None else self.degradation.measured

    def __len__(self) -> int:
        return len(self.gts)

    def __iter__(self) -> Iterator[Case]:
        """Read one input's files after the other; one with a file that is damaged or does not fit is left out."""
        for name, path in self.gts.items():
            try:
                case = in_memory(partial(self._read, name, path))
            except TimError as error:
                self.leave_out(str(error))
                continue
            if case is None:
                self.leave_out(f"{path}: does not fit into memory with its samples")
            else:
                yield case

    def _read(self, name: str, path: Path) -> Case:
        whole = read_image(path).rgb
        gt = self._cut(whole, path)
        samples = [self._fitting(file, gt, whole, path) for file in self.samples[name]]
        batch = round_to_8_bit(torch.stack(samples))
        if self.degradation is None:
            return Case(name, batch, gt, {})
        observed = self._observed(name, gt[: self.degradation.image_channels])
        known = map_tensors(lambda tensor: tensor[None], observed)
        consistency = measure_consistency(self.degradation, batch[:, : self.degradation.image_channels], known)
        return Case(name, batch, gt, consistency, self.degradation.picture(observed.lq))

    def _cut(self, gt: Tensor, path: Path) -> Tensor:
        scale = 1 if self.degradation is None else self.degradation.scale
        height, width = (side - side % scale for side in gt.shape[-2:])
        if not height or not width:
            raise TimError(f"{path}: is {_size(gt)} pixels large, smaller than one pixel of its input at scale {scale}")
        return gt[..., :height, :width]

    def _fitting(self, file: Path, gt: Tensor, whole: Tensor, path: Path) -> Tensor:
        """Read a sample, which may have the size of the GT before it was cut, after, or one between."""
        sample = read_image(file).rgb
        if any(not low <= side <= high for low, side, high in zip(gt.shape, sample.shape, whole.shape, strict=True)):
            raise TimError(f"{file}: is {_size(sample)} pixels large, its ground truth {path.name} {_size(whole)}")
        return sample[..., : gt.shape[-2], : gt.shape[-1]]

    def _observed(self, name: str, gt: Tensor) -> Observed:
        """Read the input of a GT, or make it where there is no folder of inputs."""
        if name not in self.inputs:
            return self.degradation.degrade(gt)
        path, scale = self.inputs[name], self.degradation.scale
        observed = self.degradation.read(read_bytes(path), str(path))
        if tuple(side * scale for side in observed.lq.shape[-2:]) != tuple(gt.shape[-2:]):
            raise TimError(
                f"{path}: is {_size(observed.lq)} pixels large, which does not fit the ground truth's {_size(gt)} "
                f"at scale {scale}"
            )
        return observed


def _size(image: Tensor) -> str:
    return f"{image.shape[-1]}x{image.shape[-2]}"


def listed(folder: Path, option: str, depth: int = 0) -> list[Path]:
    """Return a folder's images, or those of its subfolders, so many levels below."""
    folder = folder.expanduser()
    if not folder.is_dir():
        raise TimError(f"{option} {folder}: there is no such folder")
    try:
        return images_of(folder, folder.glob("*/" * depth + "*"), say=option == "--gt")
    except TimError as error:
        hint = ": if each input has a folder there, give --pattern '{name}/{index}'" if option == "--pred" else ""
        raise TimError(f"{option} {folder}: holds no image{hint}") from error


def _by_stem(files: Sequence[Path], gt: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in files:
        if path.stem in found:
            raise TimError(f"--gt {gt}: holds {found[path.stem].name} and {path.name}, which have one name: keep one")
        found[path.stem] = path
    return found


def _compiled(pattern: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Return expressions that read a file's name: with the longest name, and with the longest number."""
    if pattern.count("{name}") != 1:
        raise TimError(f"--pattern {pattern}: must hold {{name}} once, as in {PATTERN}")
    if pattern.count("{index}") > 1:
        raise TimError(f"--pattern {pattern}: must hold {{index}} once, or not at all for one sample of each")
    parts = re.escape(pattern).replace(r"\{index\}", r"(?P<index>\d+)")
    longest, shortest = (parts.replace(r"\{name\}", f"(?P<name>{name})") for name in (".+", ".+?"))
    return re.compile(longest, re.DOTALL), re.compile(shortest, re.DOTALL)  # names may hold a line break


def _grouped(files: Sequence[Path], pattern: str, names: set[str], pred: Path) -> dict[str, list[Path]]:
    """Return the files of each name's samples, in the order of their numbers."""
    expressions, folder = _compiled(pattern), pred.expanduser()
    found: dict[str, dict[int, Path]] = {}
    for path in files:
        stem = path.relative_to(folder).with_suffix("").as_posix()
        matches = [one for one in (expression.fullmatch(stem) for expression in expressions) if one]
        match = next((one for one in matches if one["name"] in names), None)
        if match is None:
            continue  # contact sheets and the like
        index = int(match.groupdict().get("index", 0))
        of_name = found.setdefault(match["name"], {})
        if index in of_name:
            raise TimError(f"{path}: and {of_name[index].name} are one sample: keep one of them")
        of_name[index] = path
    if not found:
        raise TimError(
            f"--pred {pred}: no file is named {pattern} with a ground truth's name; the first is {files[0].name}: "
            "name others' files with --pattern, such as '{name}' where there is one of each"
        )
    return {name: [of_name[index] for index in sorted(of_name)] for name, of_name in found.items()}
