"""Memory of a training step, computed and not measured: every tensor of it is made without its contents and counted.

The step runs on torch's fake tensors, which have shapes and storages but no data, so that it needs neither a GPU nor
the memory. What lives at one time is counted by storage. Not counted: workspaces of kernels, what an allocator keeps or
cannot use, the CUDA context.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.nn.utils import parametrize

from speed.settings import SETTINGS, Setting
from speed.timing import described
from tim_plugin.archs.levels import checkpoint_levels
from tim_plugin.archs.tower_arch import TowerGenerator
from tim_plugin.degradations.base import Observed
from tim_plugin.imle.latents import Latents
from tim_plugin.imle.pyramid import condition_pyramid, target_pyramid
from tim_plugin.losses.distance import PerceptualDistance
from tim_plugin.utils.memory import peak_bytes
from tim_plugin.utils.trees import tile

GB = 1e9
AMPS = {"off": None, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Footprint:
    """Bytes of a training step.

    Attributes:
        what: The benchmark.
        setting: Network, batch and options, for people.
        weights: Of the network and of the distance's backbone.
        moments: Adam's.
        average: EMA's.
        step: The most that lives beside these from the forward pass to the gradients: what is kept for the backward
            pass, temporaries, gradients as they come.
        update: Gradients, and as much again for a moment, while Adam takes its step.
        search: The most that lives beside weights, moments and average in a search.
    """

    what: str
    setting: str
    weights: int
    moments: int
    average: int
    step: int
    update: int
    search: int

    @property
    def most(self) -> int:
        """The most at one time."""
        return self.weights + self.moments + self.average + max(self.step, self.update, self.search)


@described.register
def _(one: Footprint) -> str:
    held, passing = (
        join.join(f"{name} {getattr(one, name) / GB:.2f}" for name in names)
        for join, names in ((" + ", ("weights", "moments", "average")), (", ", ("step", "update", "search")))
    )
    return (
        f"{one.what} (computed, not measured): {one.setting}\n  {one.most / GB:.2f} GB = {held} + most of ({passing})"
    )


def bytes_of(tensors: Iterable[Tensor]) -> int:
    """Return the bytes of tensors."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


class Step:
    """A training step of a tower without a model around it: forward, distances of all levels, backward.

    Args:
        setting: Network and LQ's side.
        batch: Examples.
        distance: Of the loss.
        amp: A key of :data:`AMPS`.
        checkpoints: See ``train: checkpoint_levels``.
    """

    def __init__(
        self, setting: Setting, batch: int, distance: PerceptualDistance, amp: str = "off", checkpoints: bool = False
    ) -> None:
        self.batch, self.amp = batch, AMPS[amp]
        self.tower = TowerGenerator(**setting.network)
        if checkpoints:
            checkpoint_levels(self.tower)
        self.distance, self.side = distance, setting.lq_px

    def inputs(self, batch: int) -> tuple[Any, Any]:
        """Return condition and target pyramids of a batch."""
        spec = self.tower.spec
        lq = torch.rand(batch, spec.num_in_ch, self.side, self.side)
        gt = torch.rand(batch, spec.num_out_ch, self.side * spec.scale, self.side * spec.scale)
        return condition_pyramid(Observed(lq), spec, self.tower.degradation), target_pyramid(gt, spec.num_levels)

    def forward(self) -> Tensor:
        """Return the loss."""
        conditions, targets = self.inputs(self.batch)
        latents = Latents.draw(self.tower.latent_shapes(self.side, self.side), self.batch)
        with torch.autocast("cpu", self.amp, enabled=self.amp is not None):
            images = self.tower(conditions, latents)
        total = 0
        for image, target in zip(images, targets, strict=True):
            with torch.no_grad():
                features = self.distance.features(target)
            total = total + self.distance.distance(self.distance.features(image), features).mean()
        return total

    def run(self) -> None:
        """Compute the gradients."""
        self.forward().backward()

    @torch.no_grad()
    def search(self, at_once: int) -> None:
        """Run each level and the distance on as many candidates of one example as a search does at once."""
        conditions, targets = self.inputs(1)
        latents, state = Latents.draw(self.tower.latent_shapes(self.side, self.side), at_once), None
        with parametrize.cached(), torch.autocast("cpu", self.amp, enabled=self.amp is not None):
            for level, (latent, target) in enumerate(zip(latents, targets, strict=True)):
                features = self.distance.features(target)
                image, state = self.tower.forward_level(level, tile(conditions[level], at_once), latent, state)
                self.distance.distance(self.distance.features(image), tile(features, at_once))


def footprint(
    setting: Setting,
    batch: int,
    backbone: str = "vgg16",
    amp: str = "off",
    checkpoints: bool = False,
    at_once: int = 20,
    about: str = "",
) -> Footprint:
    """Compute the memory of a training step with Adam and EMA; arguments as for :class:`Step`.

    Args:
        at_once: ``imle: max_candidates_per_batch``.
        about: For people.
    """
    distance = PerceptualDistance(backbone=backbone, weights="random", calibration="none")  # not made of fake tensors
    with FakeTensorMode(allow_non_fake_inputs=True):
        step = Step(setting, batch, distance, amp, checkpoints)
        own = bytes_of(step.tower.parameters())
        most = peak_bytes(step.run)
        step.tower.zero_grad()
        search = peak_bytes(partial(step.search, at_once))
    return Footprint(
        "memory",
        about,
        own + bytes_of(distance.trunk.parameters()),
        2 * own,
        own,
        most,
        2 * own,
        search,
    )


def benchmark_memory(name: str, repeats: int = 5, device: str = "cpu") -> list[Footprint]:
    """Compute the memory of a step with each batch, precision and way to keep activations.

    Args:
        name: A key of :data:`speed.settings.SETTINGS`.
        repeats: Not used: nothing is measured.
        device: Not used.
    """
    setting = SETTINGS[name]
    return [
        footprint(
            setting,
            batch,
            amp=amp,
            checkpoints=checkpoints,
            about=f"{name}, vgg16, batch {batch}, amp {amp}, checkpoint_levels {str(checkpoints).lower()}",
        )
        for batch in (1, 4)
        for amp in AMPS
        for checkpoints in (False, True)
    ]
