"""Inputs whose samples a network computes one after the other, with ground truths to compare with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from basicsr.data import build_dataset
from torch import nn

from tim_plugin.degradations.base import Measure, Observed
from tim_plugin.inference.arguments import parse_temperature
from tim_plugin.inference.finishing import degradation_of
from tim_plugin.inference.image_samples import sample_loader
from tim_plugin.inference.sampler import Temperature, level_temperatures
from tim_plugin.metrics.cases import Case, Cases
from tim_plugin.utils.errors import TimError


def temperature_for(network: nn.Module, text: str) -> Temperature:
    """Return what ``--temperature`` says of a network: 1, or each level's.

    Raises:
        TimError: It is no temperature, or other than 1 and the network is no tower.
    """
    given = parse_temperature(text)
    if given == 1:
        return 1.0
    if not hasattr(network, "forward_level"):
        raise TimError(f"--temperature {text}: goes with a tower, and this is a {type(network).__name__}")
    return level_temperatures(given, network.spec.num_levels, "--temperature")


class NetworkCases(Cases):
    """The samples of a network, computed one input after the other and never written.

    Args:
        dataset: The section of a data set with GT, as an option file has it, with ``phase`` and ``scale``.
        network: In eval mode.
        num_samples: For each input.
        seed: Of the samples.
        device: Where.
        max_samples_per_batch: Samples computed at once.
        temperature: Of a tower's latents, see :func:`tim_plugin.inference.sampler.sample_chunks`.

    Attributes:
        measured: The measures of consistency that the cases have; none where the data set does not give what they need.

    Raises:
        TimError: The data cannot be read.
    """

    def __init__(
        self,
        dataset: Mapping[str, Any],
        network: nn.Module,
        num_samples: int,
        seed: int,
        device: torch.device | str = "cpu",
        max_samples_per_batch: int = 4,
        temperature: Temperature = 1.0,
    ) -> None:
        super().__init__()
        self.dataset = build_dataset(dict(dataset))
        self.network = network.to(device)
        self.num_samples, self.seed, self.temperature = num_samples, seed, temperature
        self.device, self.at_once = device, max_samples_per_batch
        first = self._first()
        degradation = degradation_of(network, self.dataset)
        complete = degradation.is_complete(Observed(first["lq"], first.get("given", {})))
        self.measured: Mapping[str, Measure] = degradation.measured if complete else {}

    def _first(self) -> Mapping[str, Any]:
        """Return the first input that can be read."""
        problems = []
        for index in range(len(self)):
            try:
                return self.dataset[index]
            except TimError as error:
                problems.append(error)
        raise problems[0]

    def __len__(self) -> int:
        return len(self.dataset)

    def __iter__(self) -> Iterator[Case]:
        """Sample one input after the other; one with a file that cannot be read or sampled is left out.

        Raises:
            TimError: An input has no GT.
        """
        loader = torch.utils.data.DataLoader(self.dataset)
        sampled = sample_loader(
            self.network,
            loader,
            self.num_samples,
            self.seed,
            self.device,
            self.at_once,
            leave_out=self.leave_out,
            temperature=self.temperature,
        )
        for image, consistency in sampled:
            if image.gt is None:
                raise TimError(f"{image.name}: has no ground truth to compare with: use a data set with GT")
            samples, gt = image.samples.expand(-1, 3, -1, -1), image.gt.expand(3, -1, -1)
            yield Case(image.name, samples, gt, consistency, image.lq)
