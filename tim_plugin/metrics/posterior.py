"""Are samples distributed like the truth? Measures of n samples of one input against its one ground truth.

Coordinates are what samples and truth are compared in: pixels, or the features of a distance. All functions take
(n, D) samples and (D,) truths of D coordinates, so that a large image can be measured some coordinates at a time.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from tim_plugin.metrics.sample_measures import require_several
from tim_plugin.utils.errors import TimError


def fair_energy_score(to_truth: Tensor, between: Tensor) -> float:
    """Return the energy score of one input's samples (Gneiting and Raftery 2007, section 4.3), the less the better.

    It is the mean distance to the truth less half the mean distance between two samples. The fair estimator: pairs of a
    sample with itself do not count, so that its expectation does not depend on n (Ferro 2014).

    Args:
        to_truth: (n,) distances of the samples to the truth.
        between: (n, n) distances of each sample to each, 0 on the diagonal. Both have to be Euclidean distances, of
            whatever coordinates, for the score to be proper.

    Raises:
        TimError: There is one sample only.
    """
    count = len(to_truth)
    require_several(count, "the energy score")
    return float(to_truth.double().mean() - between.double().sum() / (2 * count * (count - 1)))


def pixel_distances(samples: Tensor, gt: Tensor) -> tuple[Tensor, Tensor]:
    """Return (n,) and (n, n): the root of the mean squared difference of samples (n, ...) to the GT and to another."""
    flat, truth = samples.flatten(1), gt.reshape(1, -1)
    exact = {"compute_mode": "donot_use_mm_for_euclid_dist"}  # products would cancel where samples are much alike
    root = math.sqrt(flat.shape[1])
    return torch.cdist(flat, truth, **exact)[:, 0] / root, torch.cdist(flat, flat, **exact) / root


def fair_crps(samples: Tensor, truth: Tensor) -> Tensor:
    """Return (D,): the continuous ranked probability score of each coordinate, the less the better.

    The energy score of one coordinate (Gneiting and Raftery 2007, equation 21), by the fair estimator.

    Args:
        samples: (n, D).
        truth: (D,).

    Raises:
        TimError: There is one sample only.
    """
    count = len(samples)
    require_several(count, "the CRPS")
    ranks = torch.arange(1, count + 1, device=samples.device, dtype=samples.dtype)
    ordered = samples.sort(dim=0).values
    pairs = ((2 * ranks - count - 1)[:, None] * ordered).sum(dim=0)  # of |x_i - x_j| over i < j
    return (samples - truth).abs().mean(dim=0) - pairs / (count * (count - 1))


def variance_and_error(samples: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Return (D,) and (D,): the samples' unbiased variance, and the squared error of their mean.

    Raises:
        TimError: There is one sample only.
    """
    require_several(len(samples), "the spread")
    return samples.var(dim=0), (samples.mean(dim=0) - truth).square()


def spread_over_error(variance: float, squared_error: float, count: int) -> float:
    """Return the spread of n samples over the error of their mean (Fortin et al. 2014).

    Args:
        variance: Mean of the samples' unbiased variance, over all coordinates and inputs.
        squared_error: Mean squared error of the samples' mean, over the same.
        count: n; the variance times (n + 1) / n is what a calibrated error comes to.

    Returns:
        1 where the truth is distributed like the samples; below, the samples are too much alike.
    """
    spread = math.sqrt(variance * (count + 1) / count)
    return spread / math.sqrt(squared_error) if squared_error > 0 else (math.inf if spread else math.nan)


def rank_histogram(samples: Tensor, truth: Tensor) -> Tensor:
    """Return (n + 1,): of how many coordinates the truth has which rank among the samples (Hamill 2001).

    A truth that equals some samples is shared out evenly among the ranks that it could have: what ties that are broken
    by chance come to on average. Coordinates where all samples and the truth are equal tell nothing and do not count.

    Args:
        samples: (n, D).
        truth: (D,).

    Returns:
        Double precision; all alike where the truth is distributed like the samples, high at both ends where these are
        too much alike.

    Raises:
        TimError: There is one sample only.
    """
    count = len(samples)
    require_several(count, "the rank histogram")
    below, tied = (samples < truth).sum(dim=0), (samples == truth).sum(dim=0)
    below, tied = below[tied < count], tied[tied < count]
    share = 1 / (tied + 1).double()
    starts = torch.bincount(below, share, minlength=count + 2)
    ends = torch.bincount(below + tied + 1, share, minlength=count + 2)
    return (starts - ends).cumsum(dim=0)[: count + 1]


def coverage(histogram: Tensor, level: float) -> float:
    """Return the share of truths in the samples' central interval of a level.

    Where an end of it lies between two samples, a part of the truths between these counts, so that for truths that are
    distributed like the samples the share is ``level`` for every n.

    Args:
        histogram: (n + 1,) ranks of :func:`rank_histogram`, with any sum.
        level: From 0 to :func:`widest`.

    Returns:
        From 0 to 1; ``level`` itself if the histogram is empty, as samples and truths are all equal.

    Raises:
        TimError: The interval reaches beyond the samples.
    """
    if not 0 <= level <= widest(len(histogram) - 1):
        raise TimError(f"coverage: {len(histogram) - 1} samples have no central interval of level {level}: take more")
    total = float(histogram.sum())
    if total == 0:
        return level
    reached = np.concatenate([[0], histogram.cpu().numpy().cumsum()]) / total
    low, high = np.interp([0.5 - level / 2, 0.5 + level / 2], np.linspace(0, 1, len(reached)), reached)
    return float(high - low)


def widest(count: int) -> float:
    """Return the level of the interval from the least of n samples to the largest."""
    return (count - 1) / (count + 1)


def local_deviation(samples: Tensor) -> float:
    """Return L-STD of one input: the samples' deviation (1 / n) of each value, meaned (CCSR, Sun et al. 2024).

    CCSR's code also cuts off four pixels at each border, which is not done here.

    Args:
        samples: (n, C, H, W) in [0, 1].
    """
    return float(samples.double().std(dim=0, correction=0).mean())
