"""The quantised ab plane of Zhang et al. (2016): bins, soft targets, rebalancing, and back to a and b."""

from __future__ import annotations

import functools
import itertools

import torch
from torch import Tensor
from torch.nn import functional as F

from tim_plugin.utils.color import rgb_to_lab

_STEP = 10  # of the grid, in Lab's units
_NUM_BINS = 313  # as published
_REACH = 110
_SURFACE_STEP = 5  # of 255, between the colours that stand for sRGB's gamut
_NEIGHBOURS = 5
_TARGET_SIGMA = 5.0  # of the Gaussian that spreads a pixel's target over its nearest bins


@functools.cache
def bin_centres() -> Tensor:
    """Return (313, 2): the points of the grid of step 10 that lie nearest to sRGB's gamut in the ab plane.

    The published list has as many; a public file's own order and centres come with its weights.
    """
    with torch.device("cpu"):  # whatever device a network is being built on, they are kept for all
        grid = torch.tensor(list(itertools.product(range(-_REACH, _REACH + 1, _STEP), repeat=2)), dtype=torch.float32)
        away = torch.cdist(grid, _gamut()).amin(dim=1)
        nearest = away.argsort(stable=True)[:_NUM_BINS]
        return grid[nearest.sort().values]


def _gamut() -> Tensor:
    """(n, 2) a and b of colours on the surface of the RGB cube, whose projection is the whole gamut's."""
    side = torch.arange(0, 256, _SURFACE_STEP) / 255
    pairs = torch.cartesian_prod(side, side)
    faces = []
    for channel, value in itertools.product(range(3), (0.0, 1.0)):
        parts = [pairs[:, 0], pairs[:, 1]]
        parts.insert(channel, torch.full((len(pairs),), value))
        faces.append(torch.stack(parts))
    return rgb_to_lab(torch.cat(faces, dim=1)[:, None])[1:, 0].T


def soft_targets(ab: Tensor, centres: Tensor) -> Tensor:
    """Return (N, Q, H, W), each position a distribution over its five nearest bins, for a and b (N, 2, H, W)."""
    points = ab.movedim(1, -1).reshape(-1, 2)  # (P, 2)
    away, index = torch.cdist(points, centres).topk(_NEIGHBOURS, dim=1, largest=False)
    weights = torch.softmax(-away.square() / (2 * _TARGET_SIGMA**2), dim=1)
    spread = torch.zeros(len(points), len(centres), device=ab.device).scatter_(1, index, weights)
    return spread.view(ab.shape[0], *ab.shape[-2:], -1).movedim(-1, 1)


def rebalancing(counts: Tensor, centres: Tensor, mix: float = 0.5) -> Tensor:
    """Return (Q,): what a pixel of each bin counts in the loss, 1 on average over the pixels that were counted.

    Args:
        counts: (Q,) how often each bin was seen.
        centres: (Q, 2); frequencies are smoothed over neighbouring bins (sigma 5).
        mix: Share of the uniform distribution (lambda).
    """
    share = (counts + 1e-6) / (counts + 1e-6).sum()
    kernel = torch.exp(-torch.cdist(centres, centres).square() / (2 * _TARGET_SIGMA**2))
    smooth = share @ (kernel / kernel.sum(dim=1, keepdim=True))
    weights = 1 / ((1 - mix) * smooth / smooth.sum() + mix / len(share))
    return weights / (weights * share).sum()


def annealed_mean(logits: Tensor, centres: Tensor, temperature: float) -> Tensor:
    """Return a and b (N, 2, H, W): the mean of the bins under the distribution (N, Q, H, W), sharpened."""
    return torch.einsum("nqhw,qc->nchw", torch.softmax(logits / temperature, dim=1), centres)


def drawn(logits: Tensor, centres: Tensor, generator: torch.Generator) -> Tensor:
    """Return a and b (N, 2, H, W), each position drawn from its own marginal."""
    flat = F.softmax(logits, dim=1).movedim(1, -1)  # (N, H, W, Q)
    index = torch.multinomial(flat.reshape(-1, flat.shape[-1]), 1, generator=generator)
    return centres[index.view(flat.shape[:-1])].movedim(-1, 1)
