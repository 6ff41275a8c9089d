"""Distances between two sets of images, by torch-fidelity: FID, KID, k-NN precision and recall; and the CFID.

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


def frechet_distance(generated: FeatureSet, real: FeatureSet) -> float:
    """Return the Frechet distance of two sets (FID on Inception features).

    Raises:
        TimError: A set has fewer than two images.
    """
    return fid_statistics_to_metric(generated.statistics(), real.statistics(), verbose=False)[KEY_METRIC_FID]


def kernel_distance(generated: FeatureSet, real: FeatureSet) -> dict[str, float]:
    """Return ``mean`` and ``std`` over subsets of the kernel distance (KID on Inception features), and their sizes.

    Subsets of the mean are as large as the smaller set, and no larger than torch-fidelity's. One that is a whole set is
    the same each time and deviates too little, or not at all, so that the deviation is then that of halves.

    Raises:
        TimError: A set has fewer than two images.
    """
    smaller = min(generated.count, real.count)
    if smaller < 2:
        raise TimError(f"a distance between sets needs at least 2 images in each, not {smaller}")
    size = min(KID_SUBSET_SIZE, smaller)
    found = _kid(generated, real, size)
    size_of_std = size if size < smaller else max(size // 2, 2)
    of_std = found if size_of_std == size else _kid(generated, real, size_of_std)
    std = of_std[KEY_METRIC_KID_STD]
    return {"mean": found[KEY_METRIC_KID_MEAN], "std": std, "subset_size": size, "subset_size_of_std": size_of_std}


def _kid(generated: FeatureSet, real: FeatureSet, size: int) -> dict[str, float]:
    return kid_features_to_metric(
        generated.features(),
        real.features(),
        kid_subsets=KID_SUBSETS,
        kid_subset_size=size,
        rng_seed=SEED,
        verbose=False,
    )


def conditional_frechet_distance(generated: FeatureSet, real: FeatureSet) -> float:
    """Return the conditional Frechet distance (CFID, Soloveitchik et al. 2021) of pairs of input and image.

    The squared difference of the images' means, that of what the input tells of the image, and the Frechet distance of
    what it leaves open, all as if pairs were normally distributed. Covariances are divided by N, as in the paper.

    Args:
        generated: N pairs: the D features of an input, then the D of its sample.
        real: The same inputs' features, then those of their ground truths. N is more than D + 1.
    """
    (mean, given, joint, spread), (mean_r, given_r, joint_r, spread_r) = (_blocks(one) for one in (generated, real))
    inverse = np.linalg.pinv(given_r, rcond=1e-10, hermitian=True)  # below, an eigenvalue is rounding
    told = joint - joint_r  # (D of the image, D of the input)
    left, left_r = spread - joint @ inverse @ joint.T, spread_r - joint_r @ inverse @ joint_r.T
    root = _root(left_r)
    both = np.linalg.eigvalsh(root @ left @ root).clip(min=0)
    of_left = np.trace(left) + np.trace(left_r) - 2 * np.sqrt(both).sum()
    return float(((mean - mean_r) ** 2).sum() + np.trace(told @ inverse @ told.T) + of_left)


def _blocks(pairs: FeatureSet) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the image's mean, and the covariances (D, D) of input, of image with input, and of image."""
    found = pairs.statistics()
    half = len(found["mu"]) // 2
    sigma = found["sigma"] * (pairs.count - 1) / pairs.count
    return found["mu"][half:], sigma[:half, :half], sigma[half:, :half], sigma[half:, half:]


def _root(matrix: np.ndarray) -> np.ndarray:
    """Return the square root of a symmetric matrix without negative eigenvalues but by rounding."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(values.clip(min=0))) @ vectors.T


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
