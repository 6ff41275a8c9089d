"""Several samples of one image, as they are saved, from any network; and of each image of a loader in turn."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tim_plugin.archs.folded import folded
from tim_plugin.degradations.base import Observed
from tim_plugin.imle.pyramid import condition_pyramid
from tim_plugin.imle.types import Condition
from tim_plugin.inference.batch_invariance import BatchInvariant
from tim_plugin.inference.finishing import degradation_of, finish, measure_consistency
from tim_plugin.inference.sampler import LevelSeeds, Temperature, sample_chunks
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.names import distinct_names
from tim_plugin.utils.seeds import keyed_generator
from tim_plugin.utils.strips import joined, strips
from tim_plugin.utils.trees import move


class SampledImage(NamedTuple):
    """The samples of one image, as they are saved.

    Attributes:
        name: The LQ file's, as :func:`tim_plugin.utils.names.distinct_names` has it.
        lq: The input as a picture, (3, h, w) in [0, 1].
        samples: (n, C, H, W) in [0, 1], on the 8-bit grid.
        gt: (C, H, W) or None.
    """

    name: str
    lq: Tensor
    samples: Tensor
    gt: Tensor | None


def sample_image(
    tower: nn.Module,
    observed: Observed | Tensor,
    num_samples: int,
    seed: int,
    image_key: int | str,
    level_seeds: LevelSeeds | None = None,
    max_samples_per_batch: int = 4,
    consistency: str | None = None,
    temperature: Temperature = 1.0,
) -> Tensor:
    """Return the samples of one image as they are to be saved.

    Args:
        tower: A generator with a ``spec`` and a ``degradation``; or any other network, see :func:`one_pass`.
        observed: What is known of the image, a batch of one on the tower's device; or its LQ (1, C, h, w) alone.
        num_samples: How many.
        seed: Sample j depends on (seed, ``image_key``, j) alone.
        image_key: Name or index of the image.
        level_seeds: See :func:`tim_plugin.inference.sampler.sample`.
        max_samples_per_batch: Samples computed at once.
        consistency: See :func:`tim_plugin.inference.finishing.finish`.
        temperature: Of a tower, see :func:`tim_plugin.inference.sampler.sample_chunks`.

    Returns:
        (n, C, H, W) on the CPU, in [0, 1] and on the 8-bit grid. An LQ whose sides the tower's levels do not divide is
        continued at its edges and the samples are cut. With ``consistency: project`` the projection is repeated until
        it holds after rounding and clipping.

    Raises:
        TimError: A sample has values that are not finite.
    """
    chunks = sample_image_chunks(
        tower, observed, num_samples, seed, image_key, level_seeds, max_samples_per_batch, consistency, temperature
    )
    return joined(list(chunks))


def sample_image_chunks(
    tower: nn.Module,
    observed: Observed | Tensor,
    num_samples: int,
    seed: int,
    image_key: int | str,
    level_seeds: LevelSeeds | None = None,
    max_samples_per_batch: int = 4,
    consistency: str | None = None,
    temperature: Temperature = 1.0,
) -> Iterator[Tensor]:
    """Give the samples of :func:`sample_image` some at a time, so that not all of a very large image need be kept.

    A tower's latents are multiplied by the ``temperature``, see :func:`tim_plugin.inference.sampler.sample_chunks`.

    Raises:
        TimError: A sample has values that are not finite.
    """
    observed = Observed(observed) if isinstance(observed, Tensor) else observed
    if not hasattr(tower, "forward_level"):
        images = one_pass(tower, observed.lq, num_samples, seed, image_key).cpu()
        yield finish(images, move(observed, "cpu"), tower, consistency)
        return
    conditions = conditions_of(tower, observed)
    chunks = sample_chunks(
        tower, conditions, num_samples, seed, image_key, level_seeds, max_samples_per_batch, temperature
    )
    yield from finished(chunks, tower, observed, image_key, consistency)


def conditions_of(tower: nn.Module, observed: Observed) -> list[Condition]:
    """Return the condition pyramid of one image, continued at its edges where the tower's levels do not divide it."""
    return condition_pyramid(_padded(observed, tower), tower.spec, tower.degradation)


def finished(
    chunks: Iterable[Tensor],
    tower: nn.Module,
    observed: Observed,
    image_key: int | str,
    consistency: str | None = None,
) -> Iterator[Tensor]:
    """Cut what a tower gives for :func:`conditions_of` to the image's size, and make samples of it as they are saved.

    Raises:
        TimError: A sample has values that are not finite.
    """
    height, width = (side * tower.spec.scale for side in observed.lq.shape[-2:])
    for images in chunks:
        _require_finite(images, image_key)
        with BatchInvariant():
            saved = finish(images[..., :height, :width].cpu(), move(observed, "cpu"), tower, consistency)
        yield saved


def _require_finite(images: Tensor, image_key: int | str) -> None:
    if not all(images[..., rows, :].sum().isfinite() for rows in strips(images)):
        raise TimError(
            f"image {image_key}: the network gives values that are not finite: use --precision fp32 if this is bf16, "
            "else a checkpoint from before training went wrong"
        )


@torch.no_grad()
def one_pass(network: nn.Module, lq: Tensor, num_samples: int, seed: int, image_key: int | str) -> Tensor:
    """Return the samples (n, C, H, W) of a network that is no tower, of one LQ (1, C, h, w).

    They are those of the network's own ``sample(lq, generators)``, sample j with a generator of (seed, image, j)
    alone; a network that has no such method gives one image, which is repeated.
    """
    if not hasattr(network, "sample"):
        return network(lq).expand(num_samples, -1, -1, -1)
    generators = [keyed_generator(seed, image_key, j, device=lq.device) for j in range(num_samples)]
    with BatchInvariant():
        return network.sample(lq, generators)


def _padded(observed: Observed, tower: nn.Module) -> Observed:
    """Continue the LQ to the right and below until the levels and the degradation's blocks divide its sides."""
    if tower.spec.scale > 1:
        return observed
    multiple = math.lcm(tower.spec.gt_multiple, tower.degradation.crop_step)
    smallest = 2 * tower.spec.gt_multiple  # instance norm needs more than one position on the coarsest level
    below, right = (max(-side % multiple, smallest - side) for side in observed.lq.shape[-2:])
    return Observed(F.pad(observed.lq, (0, right, 0, below), mode="replicate"), observed.given)


def sample_loader(
    tower: nn.Module,
    loader: Iterable[Mapping[str, Any]],
    num_samples: int,
    seed: int,
    device: torch.device | str = "cpu",
    max_samples_per_batch: int = 4,
    consistency: str | None = None,
    indices: Iterable[int] | None = None,
    leave_out: Callable[[str], None] | None = None,
    temperature: Temperature = 1.0,
) -> Iterator[tuple[SampledImage, dict[str, list[float]]]]:
    """Sample one image of a loader after the other.

    Args:
        tower: As for :func:`sample_image`, in eval mode.
        loader: Batches of one with BasicSR's keys ``lq``, ``lq_path`` and maybe ``gt`` and ``given``.
        num_samples: Samples of each image.
        seed: Sample j of the image with index i depends on (seed, i, j) alone.
        device: The tower's device.
        max_samples_per_batch: Samples computed at once.
        consistency: See :func:`tim_plugin.inference.finishing.finish`.
        indices: Of the loader's images, where it gives some of the images only; None counts from 0.
        leave_out: Told why an image that cannot be read or sampled is left out; None leaves none out.
        temperature: As for :func:`sample_image`.

    Yields:
        The samples, and how consistent each is with the input, by measure.

    Raises:
        TimError: An image cannot be read or sampled, and ``leave_out`` is None.
    """
    dataset = getattr(loader, "dataset", None)
    degradation, name = degradation_of(tower, dataset), _Names(dataset)
    tower = folded(tower)  # once for all images

    def sampled(index: int, data: Mapping[str, Any]) -> tuple[SampledImage, dict[str, list[float]]]:
        observed = Observed(data["lq"], data.get("given", {}))
        samples = sample_image(
            tower,
            move(observed, device),
            num_samples,
            seed,
            index,
            max_samples_per_batch=max_samples_per_batch,
            consistency=consistency,
            temperature=temperature,
        )
        gt = data["gt"][0] if "gt" in data else None
        picture = degradation.picture(data["lq"][0])
        image = SampledImage(name(index, data["lq_path"][0]), picture, samples, gt)
        return image, measure_consistency(degradation, samples, observed)

    items, indices = iter(loader), count() if indices is None else indices
    for index in indices:
        data = None
        try:
            data = next(items, None)  # the loader goes on behind an item that cannot be read
            found = None if data is None else sampled(index, data)
        except TimError as error:
            if leave_out is None:
                raise
            leave_out(str(error) if data is None else f"{data['lq_path'][0]}: {error}")
            continue
        if found is None:
            return
        yield found


class _Names:
    """Names of a data set's images: no two alike, and the same in each process and each run."""

    def __init__(self, dataset: Any) -> None:
        paths = getattr(dataset, "lq_paths", None) or getattr(dataset, "paths", None) or []
        self.known = distinct_names([path["lq_path"] if isinstance(path, Mapping) else path for path in paths])
        self.given: set[str] = set()

    def __call__(self, index: int, path: str) -> str:
        """Return the name of the image with an index; of a data set that does not list its files, by its path."""
        if self.known:
            return self.known[index % len(self.known)]
        name = Path(path).stem if Path(path).stem not in self.given else f"{Path(path).stem}_{index}"
        self.given.add(name)
        return name
