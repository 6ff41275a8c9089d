"""Decompression by the quality of the JPEG, since what is nearer on average may be farther at one of them."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

from torch import nn

from paper.pages import consistency_cell, table
from towers.judge import SEVERAL, Judge

QUALITIES, SUBSAMPLINGS = (1, 5, 10, 20), ("4:2:0", "4:4:4")
INPUTS = 40
ABOUT = f"""{INPUTS} inputs, evenly spread, {SEVERAL} samples of each; share of equal DCT coefficients after compressing
again."""


def by_quality(judge: Judge, network: nn.Module, section: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return :meth:`Judge.few` of a decompression tower, by quality and sub-sampling.

    Args:
        judge: Measures.
        network: In eval mode.
        section: Of a data set of photographs; what it says of compression is replaced.
    """
    return {
        f"{quality}, {subsampling}": judge.few(
            network, {**section, "quality": quality, "subsampling": subsampling}, INPUTS
        )
        for quality, subsampling in product(QUALITIES, SUBSAMPLINGS)
    }


def quality_lines(towers: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return a table of :func:`by_quality` of towers of the same inputs, by name, and what it is of."""
    first, body = next(iter(towers.values())), []
    for kind in first:
        body.append([kind, "the JPEG", f"{first[kind]['trivial']['distance']:.3f}", "-", "-"])
        for name, found in towers.items():
            curve = found[kind]["lpips"]["best_of_curve"]
            distances = [f"{curve[0]:.3f}", f"{curve[SEVERAL - 1]:.3f}"]
            body.append([kind, f"`{name}`", *distances, consistency_cell(found[kind])])
    header = ["quality, sub-sampling", "", "mean distance", f"best of {SEVERAL}", "consistency: mean, worst"]
    return ["", *table(header, body), "", ABOUT]
