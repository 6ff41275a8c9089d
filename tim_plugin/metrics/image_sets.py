"""Distances between two sets of images: FID, KID, k-NN precision and recall by torch-fidelity, density and coverage.

Features are kept in a file, so that memory does not grow with the number of images; mean and covariance are summed up
in double precision as images come.
"""

from __future__ import annotations

import tempfile

import numpy as np
import torch
from torch import Tensor
from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_statistics_to_metric
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, KEY_METRIC_KID_STD, kid_features_to_metric
from torch_fidelity.metric_prc import KEY_METRIC_PRECISION, KEY_METRIC_RECALL, prc_features_to_metric

from tim_plugin.metrics.feature_extractors import Extractor
from tim_plugin.utils.errors import TimError

KID_SUBSET_SIZE = 1000  # torch-fidelity's; smaller sets take all there is
KID_SUBSETS = 100
NEIGHBOURS = 3
COVERAGE_NEIGHBOURS = 5  # Naeem et al. 2020: two equal distributions cover 97 % of one another
ROWS_AT_ONCE = 1024
SEED = 2020  # torch-fidelity's


class FeatureSet:
    """The features of a set of images, streamed.

    Args:
        extractor: Makes them.
        device: Where.
    """

    def __init__(self, extractor: Extractor, device: torch.device | str = "cpu") -> None:
        self.extractor, self.device = extractor, device
        self.extractor.network.to(device)
        self.count = 0
        self._file = tempfile.TemporaryFile()
        self._sum: np.ndarray | None = None
        self._outer: np.ndarray | None = None

    @torch.no_grad()
    def compute(self, images: Tensor) -> np.ndarray:
        """Return the features (N, D), float32, of images (N, 3, H, W) on the 8-bit grid of [0, 1]."""
        levels = (images * 255).round().clamp(0, 255).to(torch.uint8)
        (features,) = self.extractor.network(levels.to(self.device))
        return features.float().cpu().numpy()

    def take(self, features: np.ndarray) -> None:
        """Add features (N, D) to the set."""
        self._file.seek(0, 2)
        self._file.write(np.ascontiguousarray(features, dtype=np.float32).tobytes())
        exact = features.astype(np.float64)
        if self._sum is None:
            self._sum, self._outer = np.zeros(exact.shape[1]), np.zeros((exact.shape[1],) * 2)
        self.count += len(exact)
        self._sum += exact.sum(axis=0)
        self._outer += exact.T @ exact

    def statistics(self) -> dict[str, np.ndarray]:
        """Return mean (D,) and covariance (D, D) as torch-fidelity wants them.

        Raises:
            TimError: There are fewer than two images.
        """
        if self.count < 2:
            raise TimError(f"a distance between sets needs at least 2 images in each, not {self.count}")
        mean = self._sum / self.count
        sigma = (self._outer - self.count * np.outer(mean, mean)) / (self.count - 1)
        return {"mu": mean, "sigma": sigma}

    def features(self) -> Tensor:
        """Return all features (N, D), mapped from their file."""
        self._file.flush()
        mapped = np.memmap(self._file, dtype=np.float32, mode="r+", shape=(self.count, len(self._sum)))
        return torch.from_numpy(mapped)

    def subset(self, rows: np.ndarray) -> FeatureSet:
        """Return the set of some of the images, by their places in the order in which they came."""
        chosen = FeatureSet(self.extractor, self.device)
        for start in range(0, len(rows), ROWS_AT_ONCE):
            chosen.take(self.features()[torch.from_numpy(rows[start : start + ROWS_AT_ONCE])].numpy())
        return chosen


def frechet_distance(generated: FeatureSet, real: FeatureSet) -> float:
    """Return the Frechet distance of two sets (FID on Inception features).

    Raises:
        TimError: A set has fewer than two images.
    """
    return fid_statistics_to_metric(generated.statistics(), real.statistics(), verbose=False)[KEY_METRIC_FID]


def frechet_parts(generated: FeatureSet, real: FeatureSet) -> dict[str, float]:
    """Return the two parts whose sum is the Frechet distance, and how far each set is spread.

    Returns:
        ``means``, the squared distance between the sets' means; ``spreads``, ``tr(A + B - 2 (A B)^(1/2))`` of their
        covariances; ``trace_of_samples`` and ``trace_of_ground_truths``, ``tr A`` and ``tr B``.

    Raises:
        TimError: A set has fewer than two images.
    """
    first, second = generated.statistics(), real.statistics()
    traces = float(np.trace(first["sigma"])), float(np.trace(second["sigma"]))
    return {
        "means": float(np.square(first["mu"] - second["mu"]).sum()),
        "spreads": sum(traces) - 2 * _trace_of_root(first["sigma"], second["sigma"]),
        "trace_of_samples": traces[0],
        "trace_of_ground_truths": traces[1],
    }


def _trace_of_root(first: np.ndarray, second: np.ndarray) -> float:
    """Return ``tr (A B)^(1/2)`` of covariances: A B has the eigenvalues of F' A F, where B = F F'."""
    values, vectors = np.linalg.eigh(second)
    kept = values > values[-1] * np.finfo(np.float64).eps * len(values)  # of few images B has a low rank
    factor = vectors[:, kept] * np.sqrt(values[kept])
    return float(np.sqrt(np.linalg.eigvalsh(factor.T @ first @ factor).clip(0)).sum())


def kernel_distance(generated: FeatureSet, real: FeatureSet, subsets: int = KID_SUBSETS) -> dict[str, float]:
    """Return ``mean`` and ``std`` over subsets of the kernel distance (KID on Inception features), and their size.

    Subsets of nearly all images hardly differ, so that ``std`` is then no measure of how sure the mean is; see
    :func:`tim_plugin.metrics.finite_sets.kernel_deviation`.

    Raises:
        TimError: A set has fewer than two images.
    """
    size = min(KID_SUBSET_SIZE, generated.count, real.count)
    if size < 2:
        raise TimError(f"a distance between sets needs at least 2 images in each, not {size}")
    found = kid_features_to_metric(
        generated.features(),
        real.features(),
        kid_subsets=subsets,
        kid_subset_size=size,
        rng_seed=SEED,
        verbose=False,
    )
    return {"mean": found[KEY_METRIC_KID_MEAN], "std": found[KEY_METRIC_KID_STD], "subset_size": size}


def precision_recall(generated: FeatureSet, real: FeatureSet) -> dict[str, float]:
    """Return k-NN precision and recall (Kynkaanniemi et al. 2019); recall is the share of GTs that samples cover.

    Raises:
        TimError: A set has no more images than there are neighbours.
    """
    if min(generated.count, real.count) <= NEIGHBOURS:
        raise TimError(
            f"precision and recall need more than {NEIGHBOURS} images in each set, not "
            f"{min(generated.count, real.count)}"
        )
    found = prc_features_to_metric(
        generated.features(), real.features(), prc_neighborhood=NEIGHBOURS, save_cpu_ram=True, verbose=False
    )
    return {"precision": found[KEY_METRIC_PRECISION], "recall": found[KEY_METRIC_RECALL], "neighbours": NEIGHBOURS}


def density_coverage(generated: FeatureSet, real: FeatureSet) -> dict[str, float]:
    """Return k-NN density and coverage (Naeem et al. 2020): of the GTs, the share that have a sample in their ball.

    A GT's ball reaches to its k-th neighbour among the GTs, so that, other than recall's, it does not shrink where an
    input has more samples. Density is how many balls a sample lies in, relative to k; it may be more than 1.

    Raises:
        TimError: There are no more GTs than neighbours, or no two samples.
    """
    if real.count <= COVERAGE_NEIGHBOURS or generated.count < 2:
        raise TimError(
            f"coverage needs more than {COVERAGE_NEIGHBOURS} ground truths and 2 samples, not {real.count} and "
            f"{generated.count}"
        )
    centres = real.features().double()
    reach = [  # the nearest is the image itself
        torch.cdist(part, centres).kthvalue(COVERAGE_NEIGHBOURS + 1, dim=1).values
        for part in centres.split(ROWS_AT_ONCE)
    ]
    radii, covered, inside = torch.cat(reach), torch.zeros(real.count, dtype=torch.bool), 0
    for part in generated.features().split(ROWS_AT_ONCE):
        near = torch.cdist(part.double(), centres) < radii
        covered |= near.any(dim=0)
        inside += int(near.sum())
    return {
        "density": inside / (COVERAGE_NEIGHBOURS * generated.count),
        "coverage": float(covered.double().mean()),
        "neighbours": COVERAGE_NEIGHBOURS,
    }
