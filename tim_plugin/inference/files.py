"""Many sampled for a user's files, from a checkpoint or a tower's name alone: what ``tools/sample.py`` runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from tim_plugin._version import __version__
from tim_plugin.degradations.base import Observed
from tim_plugin.inference.arguments import check_arguments, check_output, output_names
from tim_plugin.inference.memory_plan import Plan, Resources, own_bytes, plan_for
from tim_plugin.inference.outputs import sample_paths, sheet_path, sheet_row
from tim_plugin.inference.png_rows import write_very_large
from tim_plugin.inference.record import SampleRecord, sha256
from tim_plugin.inference.sampler import fixed_levels
from tim_plugin.inference.samples import SampledImage, measure_consistency, sample_image_chunks
from tim_plugin.inference.towers import open_network
from tim_plugin.inference.video import Video, is_video
from tim_plugin.utils.background import Writer, read_ahead
from tim_plugin.utils.checkpoints import plain
from tim_plugin.utils.contact_sheet import LARGEST_TILE_PX, contact_sheet
from tim_plugin.utils.disk_tensors import release
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.images import decode_image, list_images, read_bytes, to_pixels, write_pixels
from tim_plugin.utils.resize import bicubic_resize
from tim_plugin.utils.strips import is_very_large, joined
from tim_plugin.utils.trees import map_tensors, move

SMALLEST_SIDE_PX = 2  # instance norm needs more than one position


class _Input(NamedTuple):
    """A file that was read: ``entry`` where its samples exist already, ``problem`` where it cannot be sampled.

    Else ``observed``, how it is sampled, and maybe ``alpha``.
    """

    made_with: Mapping[str, Any]
    entry: dict[str, Any] | None = None
    problem: TimError | None = None
    observed: Observed | None = None
    plan: Plan | None = None
    alpha: Tensor | None = None


def sample_files(
    source: Path,
    output: Path,
    checkpoint: Path | str,
    *,
    num_samples: int = 8,
    seed: int = 0,
    level_seeds: Sequence[int | None] | None = None,
    suffix: str = "",
    device: str | None = None,
    max_samples_per_batch: int | None = None,
    max_megapixels: float = 100.0,
    with_contact_sheet: bool = True,
    memory_gib: float = 4.0,
    tile: str | int = "auto",
    precision: str = "fp32",
    skip_existing: bool = False,
) -> list[dict[str, Any]]:
    """Sample each image of a file or folder and write ``NAME_s00.png ...``, ``NAME_sheet.png`` and ``samples.json``.

    Args:
        source: A file or a folder of files that the network's degradation reads: images, 8 or 16 bit, grey, colour,
            with or without alpha (which is enlarged bicubically and put back); label maps; JPEGs. Or a film, whose
            frames are then written as those of a folder.
        output: Made if it does not exist; another folder than ``source``.
        checkpoint: Written by this package, which holds what rebuilds the network; or the name of one of its towers.
        num_samples: SampledImage for each image.
        seed: Sample j of an image depends on (seed, the file's name, j) alone; sample j of each of a film's frames has
            the same codes.
        level_seeds: See :func:`tim_plugin.inference.sampler.sample`; with every level given there is one
            sample.
        suffix: Put behind the name; without ``/`` and ``\\``.
        device: None takes CUDA where there is one.
        max_samples_per_batch: Samples computed at once; None: what ``memory_gib`` holds, at most 16.
        max_megapixels: Larger outputs are refused before anything is computed.
        with_contact_sheet: Write the sheets; that of an image done in tiles is made from samples of the sheet's size.
        memory_gib: See :class:`tim_plugin.inference.memory_plan.Resources`; likewise ``tile`` and ``precision``.
        skip_existing: Leave out files that ``samples.json`` says were sampled with the same model, content and
            arguments, if their PNGs exist.

    Returns:
        The entries of ``samples.json``, of this run's inputs.

    Raises:
        TimError: A path, the checkpoint or an argument is wrong; what was written before stays. Or images of a folder
            (frames of a film) cannot be read or are too large: each is reported on stderr as it is left out, and this
            is raised at the end, when all others are done.
    """
    check_arguments(num_samples, seed, suffix, max_megapixels)
    resources = Resources(memory_gib, tile, precision, max_samples_per_batch)
    source, output = source.expanduser(), output.expanduser()
    check_output(source, output)
    film = Video(source) if is_video(source) else None
    files = list_images(source) if film is None else film.frames
    names = dict(zip(files, output_names(files, suffix), strict=True))
    device = choose_device(device)
    tower, options, file = open_network(checkpoint, device)
    if not hasattr(tower, "forward_level"):
        raise TimError(
            f"{checkpoint}: is a {options.get('type')}, whose inputs only a data set knows how to read: use "
            "tools/test.py or tools/evaluate.py with its option file"
        )
    num_levels = tower.spec.num_levels
    if level_seeds is not None and len(level_seeds) > num_levels:
        raise TimError(f"--level-seeds has {len(level_seeds)} entries, the network has {num_levels} levels")
    fixed = fixed_levels(level_seeds, num_levels)
    num_samples = num_samples if None in fixed else 1
    header = {
        "tim_plugin": __version__,
        "model": str(checkpoint),
        "network_g": plain(options, lambda tensor: f"tensor of shape {tuple(tensor.shape)}"),
        "seed": seed,
    }
    made_with = {
        "model_sha256": sha256(read_bytes(file)),
        "seed": seed,
        "num_samples": num_samples,
        "level_seeds": fixed,
        "precision": precision,
    }
    record = SampleRecord(output / "samples.json", header, skip_existing)
    taken, entries, already, problems = own_bytes(device), [], 0, 0
    if len(files) > 1:  # what fits no image is said once, not for each
        plan_for(tower, SMALLEST_SIDE_PX, SMALLEST_SIDE_PX, device, resources, taken)

    def outputs_of(path: Path) -> list[Path]:
        sheet = [sheet_path(output, names[path])] if with_contact_sheet else []
        return [*sample_paths(output, names[path], num_samples), *sheet]

    def read(path: Path) -> _Input:
        content = read_bytes(path) if film is None else film.read(path)
        made = {**made_with, "input_sha256": sha256(content)}
        entry = record.done(path, made, outputs_of(path)) if skip_existing else None
        if entry is not None:
            return _Input(made, entry)
        observed = tower.degradation.read(content, str(path))
        _check_size(path, observed.lq, tower, max_megapixels)
        try:
            plan = plan_for(tower, *observed.lq.shape[-2:], device, resources, taken)
        except TimError as error:
            raise TimError(f"{path}: {error}") from error
        alpha = decode_image(content, str(path)).alpha if tower.degradation.keeps_alpha else None
        return _Input(made, observed=observed, plan=plan, alpha=alpha)

    def read_or_tell(path: Path) -> _Input:
        try:
            return read(path)
        except TimError as error:
            return _Input(made_with, problem=error)

    try:
        with Writer() as writer:
            read_files = read_ahead(files, read_or_tell)
            for path, found in tqdm(read_files, total=len(files), unit="image", disable=len(files) == 1):
                if found.problem is not None:
                    if len(files) == 1:
                        raise found.problem
                    tqdm.write(f"skipped: {found.problem}", file=sys.stderr)
                    problems += 1
                    continue
                if found.entry is not None:
                    entries.append(found.entry)
                    already += 1
                    continue
                key = path.stem if film is None else source.stem
                agreement = _sample_file(found, key, outputs_of(path), record, writer)
                entry = _describe(path, found.made_with, outputs_of(path), agreement)
                entries.append(entry)
                writer.end_group(partial(record.add, entry))
    finally:
        record.save()
    if entries:
        there = f" ({already} of them were there)" if already else ""
        print(f"{len(entries)} image(s), {num_samples} sample(s) each: {output}{there}")
    if problems:
        others = "; the others are done" if entries else ""
        raise TimError(f"-i {source}: {problems} of {len(files)} images could not be sampled, see above{others}")
    return entries


def _sample_file(
    found: _Input, image_key: str, outputs: Sequence[Path], record: SampleRecord, writer: Writer
) -> dict[str, list[float]]:
    """Sample one image and hand what is to be written to the writer; return the agreement of each sample."""
    plan, made_with = found.plan, found.made_with
    degradation = plan.tower.degradation
    batch = move(map_tensors(lambda tensor: tensor[None], found.observed), plan.device)
    paths, kept, agreement = iter(outputs), [], {}
    chunks = sample_image_chunks(
        plan.tower,
        batch,
        made_with["num_samples"],
        made_with["seed"],
        image_key,
        made_with["level_seeds"],
        plan.samples_per_batch,
    )
    for samples in chunks:
        for name, values in measure_consistency(degradation, samples, move(batch, "cpu")).items():
            agreement.setdefault(name, []).extend(values)
        if not kept:
            record.overwrite(outputs)
        if is_very_large(samples):
            for sample in samples:
                writer.write(_write, write_very_large, next(paths), sample, found.alpha, most_waiting=1)
        else:
            samples = _with_alpha(samples, found.alpha)
            for sample in samples:
                writer.write(_write, write_pixels, next(paths), to_pixels(sample))
        kept.append(_for_sheet(samples) if plan.tile_px else samples)
    for sheet in paths:  # the one that is left, if any
        sampled = SampledImage(
            sheet.stem.removesuffix("_sheet"), degradation.picture(found.observed.lq), joined(kept), None
        )
        writer.write(_write, write_pixels, sheet, to_pixels(contact_sheet([sheet_row(sampled)])))
    return agreement


def _write(write: Callable[..., None], path: Path, *content: Any) -> None:
    try:
        write(path, *content)
    except OSError as error:
        raise TimError(f"{path}: cannot be written: {error.strerror or error}") from error


def _for_sheet(samples: Tensor) -> Tensor:
    """Shrink samples to what a contact sheet shows of them, row by row, as they may lie on disk."""
    height, width = samples.shape[-2:]
    if width <= LARGEST_TILE_PX:
        return samples
    rows, lines = max(1, round(height * LARGEST_TILE_PX / width)), []
    for row in range(rows):
        area = samples[..., row * height // rows : -(-(row + 1) * height // rows), :]
        lines.append(F.interpolate(area, (1, LARGEST_TILE_PX), mode="area"))
        release(samples)
    return torch.cat(lines, dim=-2)


def choose_device(name: str | None) -> torch.device:
    """Return the device that ``--device`` names; None takes CUDA where there is one.

    Raises:
        TimError: It is not to be had on this machine.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.ones(1, device=device).item()  # a device that computes: ``meta`` makes tensors, but without values
    except (RuntimeError, AssertionError, ImportError) as error:
        raise TimError(f"--device {name}: is not to be had on this machine; leave it out or use cpu") from error
    return device


def _check_size(path: Path, lq: Tensor, tower: nn.Module, max_megapixels: float) -> None:
    height, width = lq.shape[-2:]
    if min(height, width) < SMALLEST_SIDE_PX:
        raise TimError(
            f"{path}: is {width}x{height}; an input must be at least {SMALLEST_SIDE_PX} pixels wide and high"
        )
    scale = tower.spec.scale
    megapixels = height * width * scale**2 / 1e6
    if megapixels > max_megapixels:
        raise TimError(
            f"{path}: is {width}x{height}, its {scale}x output {width * scale}x{height * scale} ({megapixels:.0f} "
            f"megapixels): crop or shrink it, or allow it with --max-megapixels {megapixels + 1:.0f}"
        )


def _with_alpha(samples: Tensor, alpha: Tensor | None) -> Tensor:
    if alpha is None:
        return samples
    alpha = bicubic_resize(alpha, tuple(samples.shape[-2:])).clamp(0, 1)
    return torch.cat([samples, alpha.expand(len(samples), -1, -1, -1)], dim=1)  # (n, 4, H, W)


def _describe(
    path: Path, made_with: Mapping[str, Any], written: Sequence[Path], agreement: Mapping[str, Sequence[float]]
) -> dict[str, Any]:
    """An image's entry of samples.json: each sample's seeds, and how well it degrades to its input."""
    files, sheets = written[: made_with["num_samples"]], written[made_with["num_samples"] :]
    samples = [
        {
            "file": file.name,
            "seed": made_with["seed"],
            "level_seeds": [j if level is None else level for level in made_with["level_seeds"]],
            **{measure: round(values[j], 4) for measure, values in agreement.items()},
        }
        for j, file in enumerate(files)
    ]
    sheet = sheets[0].name if sheets else None
    return {"input": str(path), "made_with": dict(made_with), "samples": samples, "sheet": sheet}
