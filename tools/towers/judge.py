"""Towers by a network that is neither their loss nor their teacher: EfficientNet-Lite0, as a distance and for sets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from basicsr.data import build_dataset
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Subset
from tqdm import tqdm

from paper.workbench import AT_ONCE, SAMPLING_SEED, evenly_spread
from tim_plugin.losses.distance import layer_distances
from tim_plugin.losses.unit_norm import unit_norm
from tim_plugin.metrics.case_measures import Tools, score
from tim_plugin.metrics.cases import Case
from tim_plugin.metrics.feature_extractors import EFFICIENTNET_LITE0, Extractor, build_extractor
from tim_plugin.metrics.network_cases import NetworkCases
from tim_plugin.metrics.set_measures import Sets
from tim_plugin.utils.images import round_to_8_bit
from tim_plugin.utils.metric_names import CONSISTENCY, OF_POSTERIOR
from towers.make import trivial_image

NUM_SAMPLES, SEVERAL = 32, 8  # of each input: for single inputs; in sets, and for the share that is nearer
INPUTS = 100  # that single inputs' figures are of, at most
MOST_OTHERS = 4  # times as many real images as ground truths, for the floor
METRICS = ("lpips", "lpips_diversity", *OF_POSTERIOR, CONSISTENCY)
SETS = ("fid", "kid", "prc")
BLOCKS = (0, 2, 4, 10, 15)  # the last ones at 1/2, 1/4, 1/8, 1/16 and 1/32 of the side
STRIDE = 32


class JudgeDistance(nn.Module):
    """Squared differences of five of EfficientNet-Lite0's maps, of unit norm at each position: LPIPS without heads.

    Args:
        extractor: Its weights, as :func:`tim_plugin.metrics.feature_extractors.build_extractor` reads them.
    """

    name = "EfficientNet-Lite0 feature distance, five maps, uncalibrated"

    def __init__(self, extractor: Extractor) -> None:
        super().__init__()
        self.network = extractor.network.network

    def features(self, images: Tensor) -> list[Tensor]:
        """Return maps of images (N, 3, H, W) in [0, 1], whose borders are repeated up to a multiple of the stride."""
        height, width = images.shape[-2:]
        padded = F.pad(images * 255, (0, -width % STRIDE, 0, -height % STRIDE), mode="replicate")
        maps: list[Tensor] = []
        self.network.walk(padded, lambda block, found: maps.append(found) if block in BLOCKS else None)
        return [unit_norm(one) for one in maps]

    def distance(self, a: list[Tensor], b: list[Tensor]) -> Tensor:
        """Return the distance (N,) between features of N items each."""
        return layer_distances(a, b).sum(dim=0)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the distance (N,) between images (N, 3, H, W) in [0, 1]."""
        return self.distance(self.features(a), self.features(b))


class Judge:
    """What towers are judged by.

    Args:
        device: Where.

    Raises:
        MissingWeightsError: EfficientNet-Lite0's weights are not installed.
    """

    def __init__(self, device: torch.device | str) -> None:
        self.extractor, self.device = build_extractor(EFFICIENTNET_LITE0), device
        self.distance = JudgeDistance(self.extractor).to(device)

    def tower(self, network: nn.Module, section: Mapping[str, Any]) -> dict[str, Any]:
        """Return a tower's figures, and those of the image that is had without it (``trivial``).

        Args:
            network: In eval mode.
            section: Of the data set, with ground truths.
        """
        cases = _Watched(section, network, NUM_SAMPLES, self, INPUTS)
        tools = Tools(METRICS, self.distance, device=self.device)
        figures = score(cases, tools, cases.measured, len(cases))
        ratios = [ours / trivial for ours, trivial in cases.compared]
        trivial = float(np.mean([trivial for _, trivial in cases.compared]))
        sets = self._sets(network, section)
        return {
            **figures,
            "images": len(cases),
            "nearer_than_trivial": sum(ratio < 1 for ratio in ratios) / len(ratios),
            "ratios": list(zip(cases.indices, ratios, strict=True)),
            "sets": sets["tower"],
            "trivial": {"distance": trivial, "sets": sets["trivial"]},
        }

    def few(self, network: nn.Module, section: Mapping[str, Any], inputs: int) -> dict[str, Any]:
        """Return a tower's distances and its consistency of a few inputs, and the distance of ``trivial``.

        Args:
            network: In eval mode.
            section: Of the data set, with ground truths.
            inputs: How many, evenly spread, with SEVERAL samples each.
        """
        cases = _Watched(section, network, SEVERAL, self, inputs)
        tools = Tools(("lpips", CONSISTENCY), self.distance, device=self.device)
        figures = score(cases, tools, cases.measured, len(cases))
        return {**figures, "trivial": {"distance": float(np.mean([trivial for _, trivial in cases.compared]))}}

    def _sets(self, network: nn.Module, section: Mapping[str, Any]) -> dict[str, Any]:
        cases = NetworkCases(section, network, SEVERAL, SAMPLING_SEED, self.device, AT_ONCE)
        sets = {name: Sets(self.extractor, SETS, self.device) for name in ("tower", "trivial")}
        for case in tqdm(cases, desc="sets", unit="image"):
            sets["tower"].take(case)
            sets["trivial"].take(case._replace(samples=_trivial(case)[None]))
        return {name: one.figures() for name, one in sets.items()}

    def floor(self, section: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
        """Return the measures of sets of other real images in the samples' place.

        Args:
            section: Of the data set that is measured.
            others: Of real images of the same kind and size.
        """
        dataset, most = build_dataset(dict(section)), build_dataset(dict(others))
        real = (_ground_truth(most[index]) for index in evenly_spread(len(most), MOST_OTHERS * len(dataset)))
        sets = Sets(self.extractor, SETS, self.device, floor=real)
        for index in tqdm(range(len(dataset)), desc="floor", unit="image"):
            gt = _ground_truth(dataset[index])
            sets.take(Case("", gt[None], gt, {}))
        return sets.floor()


class _Watched(NetworkCases):
    """Cases, evenly spread over the data set, of which each is compared with the image that is had without a network.

    Attributes:
        indices: Of the inputs, in the data set.
        compared: The mean distance of the first samples and that of the other image, of each input.
    """

    def __init__(self, section: Mapping[str, Any], network: nn.Module, count: int, judge: Judge, inputs: int) -> None:
        super().__init__(section, network, count, SAMPLING_SEED, judge.device, AT_ONCE)
        self.indices = evenly_spread(len(self.dataset), inputs)
        self.dataset, self.judge = Subset(self.dataset, self.indices), judge
        self.compared: list[tuple[float, float]] = []

    @torch.no_grad()
    def __iter__(self) -> Iterator[Case]:
        for case in super().__iter__():
            ours, gt = case.samples[:SEVERAL].to(self.judge.device), case.gt[None].to(self.judge.device)
            trivial = _trivial(case)[None].to(self.judge.device)
            to_gt = self.judge.distance(torch.cat([ours, trivial]), gt.expand(len(ours) + 1, -1, -1, -1))
            self.compared.append((float(to_gt[:-1].mean()), float(to_gt[-1])))
            yield case


def _trivial(case: Case) -> Tensor:
    return round_to_8_bit(trivial_image(case.lq, tuple(case.gt.shape[-2:])))


def _ground_truth(item: Mapping[str, Any]) -> Tensor:
    return round_to_8_bit(item["gt"]).expand(3, -1, -1)
