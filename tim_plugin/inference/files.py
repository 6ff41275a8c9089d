"""A user's files sampled from a checkpoint or a tower's name alone: what ``tools/sample.py`` runs."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from tim_plugin.degradations.base import Observed
from tim_plugin.inference.arguments import SampleOptions
from tim_plugin.inference.finishing import measure_consistency
from tim_plugin.inference.image_samples import SampledImage, sample_image_chunks
from tim_plugin.inference.inputs import Input, Sources, as_paths, list_inputs
from tim_plugin.inference.outputs import OutputFiles, SampleWriter, write_or_say
from tim_plugin.inference.overview import MOST_IMAGES, OVERVIEW, Overview
from tim_plugin.inference.planning import Planned, Run, open_run, read_input, require_memory
from tim_plugin.inference.record import Entry
from tim_plugin.inference.video import VideoFiles
from tim_plugin.inference.video_samples import sample_video
from tim_plugin.options.plain_checks import shown
from tim_plugin.utils.background import Writer, read_ahead
from tim_plugin.utils.contact_sheet import PER_LINE, contact_sheet, num_shown
from tim_plugin.utils.errors import TimError, did_you_mean
from tim_plugin.utils.folder_lock import locked
from tim_plugin.utils.images import read_image, write_png
from tim_plugin.utils.memory import in_memory
from tim_plugin.utils.names import require_path
from tim_plugin.utils.trees import map_tensors, move


def sample_files(
    source: Sources, output: Path | str, model: Path | str, options: SampleOptions | None = None, **changes: Any
) -> list[Entry]:
    """Sample files and folders and write ``NAME_s00.png ...``, ``NAME_sheet.png`` and ``samples.json``.

    Several images also get ``samples_overview.png``, with a line for each.

    Args:
        source: A file, a folder of files, or several of these, that the network's degradation reads: images, 8 or 16
            bit, grey, colour, with or without alpha (which is enlarged bicubically and put back); label maps; JPEGs.
            Or a video, which gives a video for each sample: ``NAME_s00.mp4 ...``. What the ``samples.json`` of a
            folder lists as written by an earlier run is left out.
        output: Made if it does not exist; another folder than ``source`` or its files'.
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
    options = _changed(options, changes)
    sources, folder = as_paths(source), require_path("-o", output, "give a folder")
    require_path("--model", model, "give a tower's name or a checkpoint's path; a tower in memory has .sample(image)")
    inputs = list_inputs(sources, folder, options.suffix, options.frames)
    with locked(folder, f"-o {folder}"):
        return _sample_inputs(sources, inputs, open_run(model, folder, options))


def _changed(options: SampleOptions | None, changes: Mapping[str, Any]) -> SampleOptions:
    if options is not None and not isinstance(options, SampleOptions):
        raise TimError(f"options is {shown(options)}: give SampleOptions(...), or single ones by name: num_samples=4")
    valid = {field.name for field in dataclasses.fields(SampleOptions)}
    for name in changes:
        if name not in valid:
            raise TimError(f"there is no argument {name}: {did_you_mean(name, valid)}")
    return dataclasses.replace(options or SampleOptions(), **changes)


def _sample_inputs(sources: Sequence[Path], inputs: Sequence[Input], run: Run) -> list[Entry]:
    """Sample and write each input, or report it as left out; return the entries."""
    if len(inputs) > 1:  # what fits no image is said once, not for each
        require_memory(run)
    with run.record, Writer() as writer:
        entries, num_there, num_skipped = _sample_all(run, inputs, writer)
    if entries:  # and all of them are written
        there = f" ({num_there} of them were there)" if num_there else ""
        print(f"{_counted(inputs, len(entries))}, {run.options.num_samples} sample(s) each: {run.folder}{there}")
    if num_skipped:
        others = "; the others are done" if entries else ""
        raise TimError(
            f"-i {_named(sources)}: {num_skipped} of {len(inputs)} images could not be sampled, see above{others}"
        )
    return entries


def _sample_all(run: Run, inputs: Sequence[Input], writer: Writer) -> tuple[list[Entry], int, int]:
    """Sample all inputs; return their entries, how many of them were there, and how many could not be sampled."""
    entries, num_there, num_skipped = [], 0, 0
    overview = Overview()
    read = read_ahead(inputs, partial(read_input, run))
    for source, found in tqdm(read, total=len(inputs), unit="image", disable=len(inputs) == 1):
        done = _sampled(run, found, writer, overview) if isinstance(found, Planned) else found
        if isinstance(done, TimError):
            if len(inputs) == 1:
                raise done
            tqdm.write(f"skipped: {done}", file=sys.stderr)
            num_skipped += 1
            continue
        entries.append(done)
        if done is found:
            num_there += 1
            if source.video is None:
                overview.add(partial(_read_back, run, source, done))
    _write_overview(run, overview, writer, num_there == len(entries))
    return entries, num_there, num_skipped


def _counted(inputs: Sequence[Input], num_done: int) -> str:
    videos = sum(one.is_video for one in inputs)
    return f"{num_done} {'video(s)' if videos == len(inputs) else 'image(s) and video(s)' if videos else 'image(s)'}"


def _write_overview(run: Run, overview: Overview, writer: Writer, all_were_there: bool) -> None:
    """Write the picture of several images, unless it is there and shows them already."""
    path = run.folder / OVERVIEW
    if overview.num_images < 2 or not run.options.with_contact_sheet or (all_were_there and path.is_file()):
        return
    if overview.num_images > MOST_IMAGES:
        print(f"{path}: shows the first {MOST_IMAGES} of {overview.num_images} images", file=sys.stderr)
    writer.write(write_or_say, overview.write, path)
    writer.end_group(partial(run.record.add_overview, path.name))


def _read_back(run: Run, source: Input, entry: Entry) -> SampledImage:
    """Return an image and its first samples as they were written by an earlier run."""
    degradation = run.tower.degradation
    picture = degradation.picture(degradation.read(source.read(), str(source.path)).lq)
    files = [run.folder / sample["file"] for sample in entry["samples"][:PER_LINE]]
    return SampledImage(source.name, picture, torch.stack([read_image(file).rgb for file in files]), None)


def _named(sources: Sequence[Path], most: int = 3) -> str:
    return ", ".join([*(str(one) for one in sources[:most]), *(["..."] if len(sources) > most else [])])


def _sampled(run: Run, planned: Planned, writer: Writer, overview: Overview) -> Entry | TimError:
    """Sample one input and return its entry, which is recorded once its files are written; or what went wrong."""
    try:
        sample = _sample_video if planned.source.is_video else _sample_image
        entry = in_memory(partial(sample, run, planned, writer, overview))
        if entry is None:
            raise _UnsampledError(f"{planned.source.path}: {_TOO_LARGE}")
    except _UnsampledError as error:
        writer.end_group(lambda: None)
        return error
    writer.end_group(partial(run.record.add, entry))
    return entry


_TOO_LARGE = "its samples do not fit into memory: lower --memory-gib or --batch"


class _UnsampledError(TimError):
    """The network cannot sample this input; others it may."""


def _one_by_one(chunks: Iterator[Tensor], path: Path) -> Iterator[Tensor]:
    """Give what the network gives, or name the input that it fails for."""
    try:
        yield from chunks
    except TimError as error:
        raise _UnsampledError(f"{path}: {error}") from error


def _samples(run: Run, planned: Planned, observed: Observed, consistency: dict[str, list[float]]) -> Iterator[Tensor]:
    """Give the samples of an image (m, C, H, W) some at a time, and note how consistent they are."""
    plan, options = planned.plan, run.options
    observed = map_tensors(lambda tensor: tensor[None], observed)  # a batch of one, on the CPU
    chunks = sample_image_chunks(
        plan.tower,
        move(observed, plan.device),
        options.num_samples,
        options.seed,
        planned.source.key,
        options.level_seeds,
        plan.samples_per_batch,
        temperature=options.temperature,
    )
    for samples in _one_by_one(chunks, planned.source.path):
        for name, values in measure_consistency(plan.tower.degradation, samples, observed).items():
            consistency.setdefault(name, []).extend(values)
        yield samples


def _sample_image(run: Run, planned: Planned, writer: Writer, overview: Overview) -> Entry:
    """Sample one image, hand what is to be written to the writer, and return its entry of ``samples.json``."""
    source, files = planned.source, planned.files
    image_writer = SampleWriter(writer, files, planned.alpha, shrink=planned.plan.tile_px > 0)
    consistency: dict[str, list[float]] = {}
    for samples in _samples(run, planned, planned.observed, consistency):
        run.record.overwrite(files.all(), source.path)  # not before there is something to write
        image_writer.add(samples)
    shown = image_writer.finish(source.name, planned.plan.tower.degradation.picture(planned.observed.lq))
    if shown is not None:
        _say_if_not_all_are_shown(files, shown.samples)
        if source.video is None:
            overview.add(shown)
    return _entry(planned, consistency)


def _say_if_not_all_are_shown(files: OutputFiles, samples: Tensor) -> None:
    number = len(files.samples)
    most = num_shown(number, *samples.shape[-2:])
    if most < number:
        tqdm.write(f"{files.sheet}: shows the first {most} of {number} samples, for its size", file=sys.stderr)


def _sample_video(run: Run, planned: Planned, writer: Writer, _: Overview) -> Entry:
    """Sample one video and return its entry of ``samples.json``."""
    degradation, files = planned.plan.tower.degradation, planned.files
    try:
        with VideoFiles(files.samples, planned.source.video.fps) as written:
            sampled = sample_video(
                planned.source.video, planned.observed, degradation, partial(_samples, run, planned), written
            )
            run.record.overwrite(files.all(), planned.source.path)
    except TimError as error:
        raise _UnsampledError(str(error)) from error
    if files.sheet is not None:
        row = sampled.shown.row(sampled.picture, planned.source.name)
        writer.write(write_or_say, write_png, files.sheet, contact_sheet([row]))
        _say_if_not_all_are_shown(files, sampled.shown.first())
    return _entry(planned, sampled.consistency)


def _entry(planned: Planned, consistency: Mapping[str, Sequence[float]]) -> Entry:
    """An image's entry of samples.json: each sample's seeds, and how well it degrades to its input."""
    made_with, files = planned.made_with, planned.files
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
    about = {"input": str(planned.source.path), "made_with": dict(made_with), "backend": planned.backend}
    return {**about, "samples": samples, "sheet": sheet}
