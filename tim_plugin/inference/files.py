"""A user's files sampled from a checkpoint or a tower's name alone: what ``tools/sample.py`` runs."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from tqdm import tqdm

from tim_plugin import __version__
from tim_plugin.degradations.base import Observed
from tim_plugin.inference.arguments import SampleOptions
from tim_plugin.inference.devices import choose_device, own_bytes
from tim_plugin.inference.image_samples import measure_consistency, sample_image_chunks
from tim_plugin.inference.inputs import Input, Sources, as_paths, list_inputs
from tim_plugin.inference.memory_plan import Plan, plan_for
from tim_plugin.inference.outputs import OutputFiles, SampleWriter, output_files
from tim_plugin.inference.record import Entry, SampleRecord, model_sha256, sha256
from tim_plugin.inference.sampler import fixed_levels
from tim_plugin.inference.towers import open_network
from tim_plugin.utils.background import Writer, read_ahead
from tim_plugin.utils.checkpoints import plain
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.folder_lock import locked
from tim_plugin.utils.image_decoding import decode_image
from tim_plugin.utils.image_headers import read_header
from tim_plugin.utils.memory import in_memory
from tim_plugin.utils.tensor_files import mapped_bytes
from tim_plugin.utils.trees import map_tensors, move

SMALLEST_SIDE_PX = 2  # instance norm needs more than one position


class Run(NamedTuple):
    """What all inputs of one call share.

    Attributes:
        tower: Samples; in eval mode on ``device``.
        device: Where it is computed.
        options: How, with ``num_samples`` and ``level_seeds`` (one entry a level) as they fit the tower.
        folder: For what is written.
        made_with: What a sample depends on beside its input, as the entries of ``samples.json`` have it.
        record: Of what was sampled.
        taken_bytes: What the process took before the first image.
    """

    tower: nn.Module
    device: torch.device
    options: SampleOptions
    folder: Path
    made_with: Mapping[str, Any]
    record: SampleRecord
    taken_bytes: int


class Planned(NamedTuple):
    """An input that was read, how it will be sampled, and where its samples will go.

    Attributes:
        source: The input.
        made_with: What its samples depend on.
        observed: What the network reads, without a batch dimension.
        alpha: (1, h, w) in [0, 1], where the file has one that its samples get back.
        plan: Whole or in tiles, and how many samples at once.
        files: What will be written.
    """

    source: Input
    made_with: Mapping[str, Any]
    observed: Observed
    alpha: Tensor | None
    plan: Plan
    files: OutputFiles


def sample_files(
    source: Sources, output: Path | str, model: Path | str, options: SampleOptions | None = None, **changes: Any
) -> list[Entry]:
    """Sample each image of files and folders and write ``NAME_s00.png ...``, ``NAME_sheet.png`` and ``samples.json``.

    Args:
        source: A file, a folder of files, or several of these, that the network's degradation reads: images, 8 or 16
            bit, grey, colour, with or without alpha (which is enlarged bicubically and put back); label maps; JPEGs.
            Or a video, whose frames are then written as those of a folder.
        output: Made if it does not exist; another folder than ``source``.
        model: A checkpoint written by this package, which holds what rebuilds the network; or the name of one of its
            towers.
        options: How; None has each option's default.
        changes: Single options by name, such as ``num_samples=4``, in place of those of ``options``.

    Returns:
        The entries of ``samples.json``, of this call's inputs.

    Raises:
        TimError: A path, the checkpoint or an option is wrong; what was written before stays. Or some of several images
            (frames of a video) cannot be read or are too large: each is reported on stderr as it is left out, and this
            is raised at the end, when all others are done.
    """
    options = dataclasses.replace(SampleOptions() if options is None else options, **changes)
    sources, folder = as_paths(source), Path(output).expanduser()
    inputs = list_inputs(sources, folder, options.suffix)
    with locked(folder, f"-o {folder}"):
        return _sample_inputs(sources, inputs, _open(model, folder, options))


def _sample_inputs(sources: Sequence[Path], inputs: Sequence[Input], run: Run) -> list[Entry]:
    """Sample and write each input, or report it as left out; return the entries."""
    if len(inputs) > 1:  # what fits no image is said once, not for each
        plan_for(run.tower, SMALLEST_SIDE_PX, SMALLEST_SIDE_PX, run.device, run.options, run.taken_bytes)
    entries, num_there, num_skipped = [], 0, 0
    with run.record, Writer() as writer:
        read = read_ahead(inputs, partial(_read, run))
        for _, found in tqdm(read, total=len(inputs), unit="image", disable=len(inputs) == 1):
            is_new = isinstance(found, Planned)
            if is_new:
                found = _sampled(run, found, writer)
            if isinstance(found, TimError):
                if len(inputs) == 1:
                    raise found
                tqdm.write(f"skipped: {found}", file=sys.stderr)
                num_skipped += 1
                continue
            entries.append(found)
            num_there += not is_new
    if entries:
        there = f" ({num_there} of them were there)" if num_there else ""
        print(f"{len(entries)} image(s), {run.options.num_samples} sample(s) each: {run.folder}{there}")
    if num_skipped:
        others = "; the others are done" if entries else ""
        raise TimError(
            f"-i {_named(sources)}: {num_skipped} of {len(inputs)} images could not be sampled, see above{others}"
        )
    return entries


def _named(sources: Sequence[Path], most: int = 3) -> str:
    return ", ".join([*(str(one) for one in sources[:most]), *(["..."] if len(sources) > most else [])])


def _open(model: Path | str, folder: Path, options: SampleOptions) -> Run:
    """Build the network, fit the options to it, and open the record.

    Raises:
        TimError: The device, the model, ``level_seeds`` or the record is wrong.
    """
    device = choose_device(options.device)
    tower, network_g, file = open_network(model, device, options.task)
    if not hasattr(tower, "forward_level"):
        raise TimError(
            f"{model}: is a {network_g.get('type')}, whose inputs only a data set knows how to read: use "
            "tools/test.py or tools/evaluate.py with its option file"
        )
    options = _fitted(options, tower.spec.num_levels)
    network_g = plain(network_g, lambda tensor: f"tensor of shape {tuple(tensor.shape)}")
    header = {"tim_plugin": __version__, "model": str(model), "network_g": network_g, "seed": options.seed}
    made_with = {
        "model_sha256": model_sha256(file),
        "seed": options.seed,
        "num_samples": options.num_samples,
        "level_seeds": options.level_seeds,
        "precision": options.precision,
        **({} if options.task is None else {"task": options.task}),
    }
    record = SampleRecord(folder / "samples.json", header, options.skip_existing)
    taken = own_bytes(device) + (mapped_bytes(file) if device.type == "cpu" else 0)  # weights that are not read yet
    return Run(tower, device, options, folder, made_with, record, taken)


def _fitted(options: SampleOptions, num_levels: int) -> SampleOptions:
    """Return the options with one entry of ``level_seeds`` a level, and one sample where none of them is free."""
    if options.level_seeds is not None and len(options.level_seeds) > num_levels:
        raise TimError(f"--level-seeds has {len(options.level_seeds)} entries, the network has {num_levels} levels")
    fixed = fixed_levels(options.level_seeds, num_levels)
    return dataclasses.replace(options, level_seeds=fixed, num_samples=options.num_samples if None in fixed else 1)


def _read(run: Run, source: Input) -> Planned | Entry | TimError:
    """Read and plan one input; or return its entry, where its samples exist already, or why it cannot be sampled."""
    options = run.options
    try:
        content = source.read()
        made_with = {**run.made_with, "input_sha256": sha256(content)}
        files = output_files(run.folder, source.name, options.num_samples, options.with_contact_sheet)
        entry = run.record.done(source.path, made_with, files.all()) if options.skip_existing else None
        found = entry or in_memory(partial(_planned, run, source, content, made_with, files))
        return found or TimError(f"{source.path}: does not fit into memory")
    except TimError as error:
        return error


def _planned(run: Run, source: Input, content: bytes, made_with: Mapping[str, Any], files: OutputFiles) -> Planned:
    degradation = run.tower.degradation
    header = read_header(content, str(source.path))  # what is too large is not decoded first
    if header.width:
        _check_size(source.path, header.height, header.width, run.tower.spec.scale, run.options.max_megapixels)
    observed = degradation.read(content, str(source.path))
    height, width = observed.lq.shape[-2:]
    _check_size(source.path, height, width, run.tower.spec.scale, run.options.max_megapixels)
    try:
        plan = plan_for(run.tower, height, width, run.device, run.options, run.taken_bytes)
    except TimError as error:
        raise TimError(f"{source.path}: {error}") from error
    alpha = decode_image(content, str(source.path)).alpha if degradation.keeps_alpha else None
    return Planned(source, made_with, observed, alpha, plan, files)


def _check_size(path: Path, height: int, width: int, scale: int, max_megapixels: float) -> None:
    if min(height, width) < SMALLEST_SIDE_PX:
        raise TimError(
            f"{path}: is {width}x{height}; an input must be at least {SMALLEST_SIDE_PX} pixels wide and high"
        )
    megapixels = height * width * scale**2 / 1e6
    if megapixels > max_megapixels:
        raise TimError(
            f"{path}: is {width}x{height}, its {scale}x output {width * scale}x{height * scale} ({megapixels:.0f} "
            f"megapixels): crop or shrink it, or allow it with --max-megapixels {megapixels + 1:.0f}"
        )


class _UnsampledError(TimError):
    """The network cannot sample this input; others it may."""


def _sampled(run: Run, planned: Planned, writer: Writer) -> Entry | TimError:
    """Sample one image and return its entry, which is recorded once its files are written; or what went wrong."""
    try:
        entry = _sample_and_write(run, planned, writer)
    except _UnsampledError as error:
        writer.end_group(lambda: None)
        return error
    writer.end_group(partial(run.record.add, entry))
    return entry


def _one_by_one(chunks: Iterator[Tensor], path: Path) -> Iterator[Tensor]:
    """Give what the network gives, or name the input that it fails for."""
    ended = torch.empty(0)
    while True:
        try:
            samples = in_memory(lambda: next(chunks, ended))
        except TimError as error:
            raise _UnsampledError(f"{path}: {error}") from error
        if samples is None:
            raise _UnsampledError(f"{path}: its samples do not fit into memory: lower --memory-gib or --batch")
        if samples is ended:
            return
        yield samples


def _sample_and_write(run: Run, planned: Planned, writer: Writer) -> Entry:
    """Sample one image, hand what is to be written to the writer, and return its entry of ``samples.json``."""
    source, plan, options = planned.source, planned.plan, run.options
    degradation = plan.tower.degradation
    observed = map_tensors(lambda tensor: tensor[None], planned.observed)  # a batch of one, on the CPU
    chunks = sample_image_chunks(
        plan.tower,
        move(observed, plan.device),
        options.num_samples,
        options.seed,
        source.key,
        options.level_seeds,
        plan.samples_per_batch,
    )
    image_writer = SampleWriter(writer, planned.files, planned.alpha, shrink=plan.tile_px > 0)
    consistency: dict[str, list[float]] = {}
    for samples in _one_by_one(chunks, source.path):
        for name, values in measure_consistency(degradation, samples, observed).items():
            consistency.setdefault(name, []).extend(values)
        run.record.overwrite(planned.files.all())  # not before there is something to write
        image_writer.add(samples)
    image_writer.finish(source.name, degradation.picture(planned.observed.lq))
    return _entry(source.path, planned.made_with, planned.files, consistency)


def _entry(
    path: Path, made_with: Mapping[str, Any], files: OutputFiles, consistency: Mapping[str, Sequence[float]]
) -> Entry:
    """An image's entry of samples.json: each sample's seeds, and how well it degrades to its input."""
    samples = [
        {
            "file": file.name,
            "seed": made_with["seed"],
            "level_seeds": [j if level is None else level for level in made_with["level_seeds"]],
            **{measure: round(values[j], 4) for measure, values in consistency.items()},
        }
        for j, file in enumerate(files.samples)
    ]
    sheet = None if files.sheet is None else files.sheet.name
    return {"input": str(path), "made_with": dict(made_with), "samples": samples, "sheet": sheet}
