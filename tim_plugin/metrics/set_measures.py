"""Measures of sets: all samples of all inputs against all ground truths, and their floor, real against real."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tim_plugin.metrics.cases import Case, listed
from tim_plugin.metrics.feature_cache import cached_features
from tim_plugin.metrics.feature_extractors import Extractor
from tim_plugin.metrics.finite_sets import (
    LEAST_HALVED,
    LEAST_INPUTS,
    distance_of,
    extrapolate,
    kernel_deviation,
    random_subsets,
)
from tim_plugin.metrics.image_sets import (
    FeatureSet,
    conditional_frechet_distance,
    density_coverage,
    frechet_distance,
    frechet_parts,
    kernel_distance,
    precision_recall,
)
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.metric_names import CONDITIONAL, OF_SETS


def check_sets(metrics: Collection[str], num_inputs: int, at_infinity: bool, floor: Path | None) -> list[Path]:
    """Return the files of ``--floor``, none where it was not given.

    Raises:
        TimError: What ``--floor`` or ``--extrapolate`` adds to is not measured, or there are too few images.
    """
    if at_infinity and "fid" not in metrics:
        raise TimError("--extrapolate: goes with --metrics fid")
    if at_infinity and num_inputs < LEAST_INPUTS:
        raise TimError(f"--extrapolate: takes {LEAST_INPUTS} ground truths, and there are {num_inputs}")
    if floor is None:
        return []
    without_inputs = [name for name in OF_SETS if name != CONDITIONAL]
    if not any(name in without_inputs for name in metrics):
        raise TimError(f"--floor: goes with --metrics {', '.join(without_inputs)}")
    files = listed(floor, "--floor")
    if len(files) < num_inputs:
        raise TimError(f"--floor {floor}: holds {len(files)} images, fewer than the {num_inputs} ground truths")
    return files


def require_pairs(count: int, width: int) -> None:
    """See that there are enough pairs of input and image for the conditional Frechet distance.

    Args:
        count: Of pairs.
        width: Of the extractor.

    Raises:
        TimError: There are too few: the inputs' features would tell those of the images whole, and leave no spread.
    """
    if count < width + 2:
        what = f"{width + 2} ground truths with {width} features, and there are {count}"
        raise TimError(f"--metrics {CONDITIONAL}: takes {what}")


class Sets:
    """The features of samples and of ground truths.

    Args:
        extractor: Makes them.
        wanted: Of ``fid``, ``kid``, ``prc``, ``cfid``.
        device: Where.
        samples_in_sets: So many samples of each input count; None counts all.
        cache: Folder for the features of real images; None keeps none.
        at_infinity: Whether the Frechet distance is extrapolated to infinitely many inputs.
        floor: Other real images (3, H, W) in [0, 1] on the 8-bit grid, at least as many as there are ground truths:
            what measures are between real images. None leaves it out.

    Raises:
        TimError: An image of the floor cannot be read.
    """

    def __init__(
        self,
        extractor: Extractor,
        wanted: Collection[str],
        device: torch.device | str = "cpu",
        samples_in_sets: int | None = None,
        cache: Path | None = None,
        at_infinity: bool = False,
        floor: Iterable[Tensor] | None = None,
    ) -> None:
        self.extractor, self.wanted, self.samples_in_sets = extractor, wanted, samples_in_sets
        self.cache, self.at_infinity = cache, at_infinity
        self.generated, self.real = FeatureSet(extractor, device), FeatureSet(extractor, device)
        self.pairs, self.real_pairs = FeatureSet(extractor, device), FeatureSet(extractor, device)
        self.others = None if floor is None else FeatureSet(extractor, device)
        for image in floor or ():
            self.others.take(cached_features(self.others, image, cache))

    def take(self, case: Case) -> None:
        """Add an input's samples and its ground truth; for pairs with the input the first sample alone."""
        features = self.generated.compute(case.samples[: self.samples_in_sets])
        real = cached_features(self.real, case.gt, self.cache)
        self.generated.take(features)
        self.real.take(real)
        if CONDITIONAL in self.wanted:
            given = self.real.compute(case.lq[None])
            self.pairs.take(np.concatenate([given, features[:1]], axis=1))
            self.real_pairs.take(np.concatenate([given, real], axis=1))

    def figures(self) -> dict[str, Any]:
        """Return the measures by name, and how many images they are of.

        Raises:
            TimError: There are too few images.
        """
        each = self.generated.count // self.real.count
        result = self._measures(self.generated, each)
        if CONDITIONAL in self.wanted:
            require_pairs(self.pairs.count, self.extractor.width)  # inputs may have been left out
            result[self.extractor.cfid] = conditional_frechet_distance(self.pairs, self.real_pairs)
        images = {"samples": self.generated.count, "ground_truths": self.real.count, "samples_of_each": each}
        return {**result, "images_in_sets": images, **({} if self.others is None else {"floor": self.floor()})}

    def floor(self) -> dict[str, Any]:
        """Measure other real images in the samples' place, as many as ground truths; Frechet over several choices.

        Raises:
            TimError: There are too few images.
        """
        subsets = random_subsets(self.others, self.real.count)
        result = self._measures(subsets[0], 1)
        if "fid" in self.wanted and len(subsets) > 1:
            frechet = self.extractor.frechet
            parts = [result[f"{frechet}_parts"], *(frechet_parts(one, self.real) for one in subsets[1:])]
            result[frechet] = float(np.mean([distance_of(one) for one in parts]))
            result[f"{frechet}_std"] = float(np.std([distance_of(one) for one in parts], ddof=1))
            result[f"{frechet}_parts"] = {key: float(np.mean([one[key] for one in parts])) for key in parts[0]}
        return {**result, "images": subsets[0].count}

    def _measures(self, generated: FeatureSet, each: int) -> dict[str, Any]:
        extractor, result = self.extractor, {}
        if "fid" in self.wanted:
            result[extractor.frechet] = frechet_distance(generated, self.real)
            result[f"{extractor.frechet}_parts"] = frechet_parts(generated, self.real)
            if self.at_infinity:
                result[f"{extractor.frechet}_extrapolated"] = extrapolate(generated, self.real, each)
        if "kid" in self.wanted:
            result[extractor.kid] = kernel_distance(generated, self.real)
            if self.real.count >= LEAST_HALVED:
                result[extractor.kid]["deviation"] = kernel_deviation(generated, self.real, each)
        if "prc" in self.wanted:
            result["prc"] = precision_recall(generated, self.real)
            result["density_coverage"] = density_coverage(generated, self.real)
        return result
