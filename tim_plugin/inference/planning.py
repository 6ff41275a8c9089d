"""A run of ``tools/sample.py``: opened once, and each of its inputs read and planned."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tim_plugin import __version__
from tim_plugin.degradations.base import Observed
from tim_plugin.inference.arguments import SampleOptions
from tim_plugin.inference.backends import Backends
from tim_plugin.inference.devices import choose_device, own_bytes
from tim_plugin.inference.image_inputs import require_channels
from tim_plugin.inference.inputs import Input
from tim_plugin.inference.memory_plan import Plan, plan_for
from tim_plugin.inference.outputs import OutputFiles, output_files
from tim_plugin.inference.record import RECORD, Entry, SampleRecord, sha256, sha256_of_file
from tim_plugin.inference.sampler import fixed_levels, level_temperatures, recorded
from tim_plugin.inference.towers import open_network
from tim_plugin.inference.video import WRITTEN_SUFFIX
from tim_plugin.utils.checkpoints import plain
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.image_decoding import decode_image
from tim_plugin.utils.image_headers import read_header
from tim_plugin.utils.memory import in_memory
from tim_plugin.utils.tensor_files import mapped_bytes

SMALLEST_SIDE_PX = 2  # instance norm needs more than one position


class Run(NamedTuple):
    """What all inputs of one call share.

    Attributes:
        tower: Samples; in eval mode on ``device``.
        device: Where it is computed.
        options: How, with ``num_samples``, and ``level_seeds`` and ``temperature`` with one entry a level.
        folder: For what is written.
        made_with: What a sample depends on beside its input, as the entries of ``samples.json`` have it.
        record: Of what was sampled.
        backends: What can compute the tower.
        taken_bytes: What the process took before the first image.
    """

    tower: nn.Module
    device: torch.device
    options: SampleOptions
    folder: Path
    made_with: Mapping[str, Any]
    record: SampleRecord
    backends: Backends
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
        backend: What computes it, with its version.
    """

    source: Input
    made_with: Mapping[str, Any]
    observed: Observed
    alpha: Tensor | None
    plan: Plan
    files: OutputFiles
    backend: str


def open_run(model: Path | str, folder: Path, options: SampleOptions) -> Run:
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
    options, backends = _fitted(options, tower.spec.num_levels), Backends(tower)
    backends.choose(device, options)  # says what cannot be, before anything is read
    network_g = plain(network_g, lambda tensor: f"tensor of shape {tuple(tensor.shape)}")
    header = {"tim_plugin": __version__, "model": str(model), "network_g": network_g, "seed": options.seed}
    made_with = {
        "model_sha256": sha256_of_file(file),
        "seed": options.seed,
        "num_samples": options.num_samples,
        "level_seeds": options.level_seeds,
        "precision": options.precision,
        **recorded(options.temperature),
        **({} if options.task is None else {"task": options.task}),
    }
    record = SampleRecord(folder / RECORD, header)
    taken = own_bytes(device) + (mapped_bytes(file) if device.type == "cpu" else 0)  # weights that are not read yet
    return Run(tower, device, options, folder, made_with, record, backends, taken)


def _fitted(options: SampleOptions, num_levels: int) -> SampleOptions:
    """Return the options with one entry a level, and with one sample where no level is free."""
    if options.level_seeds is not None and len(options.level_seeds) > num_levels:
        raise TimError(f"--level-seeds has {len(options.level_seeds)} entries, the network has {num_levels} levels")
    fixed = fixed_levels(options.level_seeds, num_levels)
    return dataclasses.replace(
        options,
        level_seeds=fixed,
        num_samples=options.num_samples if None in fixed else 1,
        temperature=level_temperatures(options.temperature, num_levels, "--temperature"),
    )


def read_input(run: Run, source: Input) -> Planned | Entry | TimError:
    """Read and plan one input; or return its entry, where its samples exist already, or why it cannot be sampled."""
    options = run.options
    try:
        content = source.read()
        digest = sha256_of_file(source.path) if source.is_video else sha256(content)
        made_with = {**run.made_with, "input_sha256": digest}
        suffix = WRITTEN_SUFFIX if source.is_video else ".png"
        files = output_files(run.folder, source.name, options.num_samples, options.with_contact_sheet, suffix)
        entry = run.record.done(source.path, made_with, files.all()) if options.skip_existing else None
        found = entry or in_memory(partial(_planned, run, source, content, made_with, files))
        return found or TimError(f"{source.path}: does not fit into memory")
    except TimError as error:
        return error


def _planned(run: Run, source: Input, content: bytes, made_with: Mapping[str, Any], files: OutputFiles) -> Planned:
    degradation = run.tower.degradation
    require_channels(run.tower, str(source.path))
    header = read_header(content, str(source.path))  # what is too large is not decoded first
    if header.width:
        _check_size(source.path, header.height, header.width, run.tower.spec.scale, run.options.max_megapixels)
    observed = degradation.read(content, str(source.path))
    height, width = observed.lq.shape[-2:]
    _check_size(source.path, height, width, run.tower.spec.scale, run.options.max_megapixels)
    try:
        plan, backend = run.backends.plan(height, width, run.device, run.options, run.taken_bytes)
    except TimError as error:
        raise TimError(f"{source.path}: {error}") from error
    alpha = decode_image(content, str(source.path)).alpha if degradation.keeps_alpha else None
    return Planned(source, made_with, observed, alpha, plan, files, backend)


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


def require_memory(run: Run) -> None:
    """Raise TimError where the options of memory fit no image at all."""
    plan_for(run.tower, SMALLEST_SIDE_PX, SMALLEST_SIDE_PX, run.device, run.options, run.taken_bytes)
