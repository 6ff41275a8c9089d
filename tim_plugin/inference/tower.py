"""A tower as its users know it: a network together with the reading of its inputs and what samples are measured by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tim_plugin import __version__
from tim_plugin.degradations.base import Degradation
from tim_plugin.degradations.tasks import TASKS
from tim_plugin.inference.arguments import (
    MOST_SAMPLES,
    Resources,
    arguments_named,
    numbers_of_samples,
    require_megapixels,
)
from tim_plugin.inference.backends import Backends
from tim_plugin.inference.finishing import measure_consistency
from tim_plugin.inference.hub_methods import HubMethods
from tim_plugin.inference.image_inputs import ImageFile, InputLike, image_files, require_channels
from tim_plugin.inference.image_samples import sample_image_chunks
from tim_plugin.inference.kept import kept_levels, require_same
from tim_plugin.inference.open_input import OpenInput
from tim_plugin.inference.record import sha256, sha256_of_file
from tim_plugin.inference.sample_set import DrawnFrom, InputSamples, Samples
from tim_plugin.inference.sampler import fixed_levels, level_temperatures, recorded
from tim_plugin.options.plain_checks import shown
from tim_plugin.utils.checkpoints import plain
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.image_decoding import decode_image
from tim_plugin.utils.image_headers import read_header
from tim_plugin.utils.plain_numbers import is_whole, plain_number
from tim_plugin.utils.strips import joined
from tim_plugin.utils.trees import map_tensors, move

SMALLEST_SIDE_PX = 2  # instance norm needs more than one position


class Tower(HubMethods):
    """A network together with what its samples need: how inputs are read, and what they must be consistent with.

    Args:
        network: A ``TowerGenerator``, or another network with ``spec``, ``degradation`` and ``forward_level``; it is
            used as it is, so put it into eval mode.
        name: For records.
        options: The ``network_g`` section that built it, for records.
        file: That its weights are from, if any.

    Attributes:
        network: The ``nn.Module``.
        name: What it was loaded by.

    Example::

        tower = tim_plugin.load("decompress-small")
        out = tower.sample("photo.jpg", n=4)
        more = tower.sample("photo.jpg", n=8, keep=(out, 3), levels=2)
    """

    def __init__(
        self,
        network: nn.Module,
        name: str = "a network in memory",
        options: Mapping[str, Any] | None = None,
        file: Path | None = None,
    ) -> None:
        self.network, self.name, self.options, self.file = network, name, dict(options or {}), file
        self._backends = Backends(network)

    def __repr__(self) -> str:
        return f"Tower({self.name!r}, task={self.task!r}, scale={self.scale}, num_levels={self.num_levels})"

    @property
    def task(self) -> str | None:
        """The task's name, as ``tim prepare`` takes it; None where the degradation is not that of a known task."""
        kind = self.network.spec.degradation["type"]
        fitting = (name for name, task in TASKS.items() if (task.degradation, task.scale) == (kind, self.scale))
        return next(fitting, None)

    @property
    def scale(self) -> int:
        """Size of a sample over the size of its input."""
        return self.network.spec.scale

    @property
    def num_levels(self) -> int:
        """Number of levels, coarse to fine, each of which has latents of its own."""
        return self.network.spec.num_levels

    @property
    def degradation(self) -> Degradation:
        """What made the inputs: reads them, projects onto them, and measures consistency with them."""
        return self.network.degradation

    @property
    def consistency(self) -> str:
        """``project`` where every sample degrades to its input, else ``off``."""
        return self.network.spec.consistency

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device

    @cached_property
    def sha256(self) -> str | None:
        """SHA-256 of the file that its weights are from; None: there is none."""
        return None if self.file is None else sha256_of_file(self.file)

    def sample(
        self,
        image: InputLike,
        n: int = 8,
        seed: int | None = None,
        keep: tuple[Samples, int] | None = None,
        levels: int | None = None,
        *,
        level_seeds: Sequence[int | None] | None = None,
        temperature: float | Sequence[float] | None = None,
        name: str | None = None,
        memory_gib: float = 4.0,
        tile: str | int = "auto",
        precision: str = "fp32",
        backend: str = "auto",
        max_megapixels: float = 100.0,
    ) -> Samples:
        """Draw samples for an input, or for each of a batch; for a path those that ``tim sample`` writes, to the pixel.

        Args:
            image: A path; the bytes of an image file; a PIL image (of mode ``I`` with 8 bits if no value is above 255);
                a numpy array (H, W) or (H, W, C), uint8, uint16 (0 to 65535) or floats in [0, 1]; a tensor (3, H, W),
                (1, H, W), or (N, 3, H, W) for N images, in [0, 1] (kept to 16 bits). Decompression takes a JPEG's path
                or bytes; colourisation grey or colour; layouts class indices (integers) or colours; digits 28x28 or
                32x32, white on black.
            n: Samples of each input, 1 to 100000.
            seed: From 0; None: 0, or that of ``keep``. Sample j depends on (seed, the input's name, j) alone.
            keep: This tower's samples of the same input, and which of them: its coarse levels are kept, and the finer
                ones drawn anew.
            levels: How many levels ``keep`` keeps, coarse to fine; None: all but the finest. With all there is one
                sample.
            level_seeds: In place of ``keep``: coarse to fine, from which sample (0, 1, ...) all take a level's latents;
                None leaves a level free.
            temperature: What the latents are multiplied by, in all levels or in each, coarse to fine: 1 is what the
                tower is trained with, more gives more variety, 0 none; None: 1, or that of ``keep``.
            name: By which the samples are drawn and saved; None: the file's name without suffix, or ``image``, in a
                batch ``image_0``, ``image_1``, ...
            memory_gib: What this may take beside what the process has.
            tile: ``auto`` computes in tiles what would not fit; a number is a tile's side in pixels; 0 never tiles.
            precision: ``fp32``, or ``bf16`` for the network's convolutions.
            backend: What computes them: ``torch``, or on a processor ``onnxruntime`` or ``openvino``; ``auto`` takes
                the fastest that is installed and can.
            max_megapixels: A larger output is refused.

        Returns:
            ``images`` (n, C, H, W), for a batch (N, n, C, H, W), in [0, 1] on the 8-bit grid, on the CPU.

        Raises:
            TimError: The input's kind, shape, type or range, or an argument, is wrong; the message says what is right.
        """
        n, seed, max_megapixels = plain_number(n), plain_number(seed), plain_number(max_megapixels)
        if not is_whole(n) or not 1 <= n <= MOST_SAMPLES:
            raise TimError(f"n {shown(n)} must be a whole number from 1 to {MOST_SAMPLES}; another seed gives more")
        require_megapixels("max_megapixels", max_megapixels)
        files = image_files(image, self.degradation, name)
        seed, fixed = self._fixed(files, seed, keep, levels, level_seeds)
        n = n if None in fixed else 1
        temperatures = self._temperatures(keep, fixed, temperature)
        with arguments_named():
            resources = Resources(memory_gib=memory_gib, tile=tile, precision=precision, backend=backend)
            inputs = [
                self._sample_file(file, n, seed, fixed, temperatures, resources, max_megapixels) for file in files
            ]
        network_g = plain(self.options, lambda tensor: f"tensor of shape {tuple(tensor.shape)}")
        header = {"tim_plugin": __version__, "model": self.name, "network_g": network_g, "seed": seed}
        made_with = {"model_sha256": self.sha256, "seed": seed, "num_samples": n, "level_seeds": fixed}
        made_with |= {"precision": precision, **recorded(temperatures)}
        seeds = [[j if level is None else level for level in fixed] for j in range(n)]
        is_batch = isinstance(image, Tensor) and image.dim() == 4
        return Samples(inputs, range(n), seeds, DrawnFrom(header, made_with, n), is_batch)

    def _fixed(
        self,
        files: Sequence[ImageFile],
        seed: int | None,
        keep: tuple[Samples, int] | None,
        levels: int | None,
        level_seeds: Sequence[int | None] | None,
    ) -> tuple[int, list[int | None]]:
        """Return the seed, and from which sample each level's latents are taken."""
        if keep is None:
            if levels is not None:
                raise TimError(f"levels {levels}: says how many levels of keep=(samples, j) are kept: give both")
            if seed is not None and not (is_whole(seed) and seed >= 0):
                raise TimError(f"seed {shown(seed)} must be a whole number from 0")
            level_seeds = numbers_of_samples("level_seeds", level_seeds)
            if level_seeds is not None and len(level_seeds) > self.num_levels:
                raise TimError(f"level_seeds has {len(level_seeds)} entries, the network has {self.num_levels} levels")
            return seed or 0, fixed_levels(level_seeds, self.num_levels)
        if level_seeds is not None:
            raise TimError("keep and level_seeds both say which latents are kept: give one of them")
        kept = kept_levels(keep, levels, self.num_levels, [file.key for file in files], seed)
        require_same(keep[0], self.sha256, files, self.degradation)
        return kept

    def _temperatures(
        self,
        keep: tuple[Samples, int] | None,
        fixed: Sequence[int | None],
        temperature: float | Sequence[float] | None,
    ) -> list[float]:
        """Return each level's temperature; a level that is kept has the one that it was drawn with."""
        before = 1.0 if keep is None else keep[0].drawn_from.made_with.get("temperature", 1.0)
        before = level_temperatures(before, self.num_levels)
        own = before if temperature is None else level_temperatures(temperature, self.num_levels)
        is_kept = [keep is not None and level is not None for level in fixed]
        return [old if kept else new for old, new, kept in zip(before, own, is_kept, strict=True)]

    def _sample_file(
        self,
        file: ImageFile,
        n: int,
        seed: int,
        fixed: Sequence[int | None],
        temperature: Sequence[float],
        resources: Resources,
        max_megapixels: float,
    ) -> InputSamples:
        opened, degradation = self._open(file, resources, max_megapixels), self.degradation
        plan, batch = opened.plan, opened.observed
        images, consistency = [], {}
        for part in sample_image_chunks(
            plan.tower,
            move(batch, plan.device),
            n,
            seed,
            file.key,
            fixed,
            plan.samples_per_batch,
            temperature=temperature,
        ):
            images.append(part)
            for measure, values in measure_consistency(degradation, part, batch).items():
                consistency.setdefault(measure, []).extend(values)
        measured = {measure: torch.tensor(values) for measure, values in consistency.items()}
        about = (file.key, file.source, sha256(file.content))
        return InputSamples(*about, opened.picture, joined(images), opened.alpha, measured, opened.backend)

    def open_input(
        self,
        image: InputLike,
        name: str | None = None,
        *,
        source: str | None = None,
        memory_gib: float = 4.0,
        max_megapixels: float = 100.0,
    ) -> OpenInput:
        """Read one input once, for any number of samples by :meth:`OpenInput.sample`; torch computes, without tiles.

        Arguments are those of :meth:`sample`; ``source`` is how messages name the input, None: as it was given.

        Raises:
            TimError: As for :meth:`sample`; or the input is a batch.
        """
        require_megapixels("max_megapixels", max_megapixels)
        files = image_files(image, self.degradation, name)
        if len(files) != 1:
            raise TimError(f"the input is a batch of {len(files)} images: give one of them")
        file = files[0] if source is None else files[0]._replace(source=source)
        with arguments_named():
            return self._open(file, Resources(memory_gib=memory_gib, tile=0, backend="torch"), max_megapixels)

    def _open(self, file: ImageFile, resources: Resources, max_megapixels: float) -> OpenInput:
        degradation = self.degradation
        require_channels(self.network, file.source)
        header = read_header(file.content, file.source)  # what is too large is not decoded first
        if header.width:
            self._check_size(file.source, header.height, header.width, max_megapixels)
        observed = degradation.read(file.content, file.source)
        height, width = observed.lq.shape[-2:]
        self._check_size(file.source, height, width, max_megapixels)
        plan, backend = self._backends.plan(height, width, self.device, resources, 0)
        alpha = decode_image(file.content, file.source).alpha if degradation.keeps_alpha else None
        batch = map_tensors(lambda tensor: tensor[None], observed)
        return OpenInput(file, batch, plan, alpha, degradation.picture(observed.lq), backend)

    def _check_size(self, source: str, height: int, width: int, max_megapixels: float) -> None:
        if min(height, width) < SMALLEST_SIDE_PX:
            raise TimError(f"{source}: is {width}x{height}; an input has sides of at least {SMALLEST_SIDE_PX} pixels")
        megapixels = height * width * self.scale**2 / 1e6
        if not megapixels <= max_megapixels:
            raise TimError(
                f"{source}: is {width}x{height}, its {self.scale}x output {width * self.scale}x{height * self.scale}: "
                f"crop or shrink it, or allow it by max_megapixels={megapixels + 1:.0f}"
            )
