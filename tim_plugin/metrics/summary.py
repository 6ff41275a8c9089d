"""The measures of validated images, and what remains of them in one line of figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

import numpy as np


@dataclass
class Row:
    """Measures of one image: ``scores[metric]`` holds one value a sample, ``of_all[metric]`` one of them together."""

    name: str
    scores: dict[str, list[float]] = field(default_factory=dict)
    of_all: dict[str, float] = field(default_factory=dict)


def summarise(rows: Sequence[Row], better: Mapping[str, str], consistency: Set[str] = frozenset()) -> dict[str, float]:
    """Reduce rows to means over images: ``NAME`` is the mean over samples, ``NAME_best`` the best of n.

    Args:
        rows: One for each image, with the same measures.
        better: ``higher`` or ``lower`` for each measure; what is not named is ``higher``.
        consistency: Measures of consistency with the input, such as ``lr_psnr``. They have ``NAME_worst``, the worst
            sample of all, in place of the best of n, because consistency is to hold for every sample.

    Returns:
        Metrics of all samples together have their mean over images only; so has ``diversity`` where it was measured.
    """
    result: dict[str, float] = {}
    for name in rows[0].scores if rows else ():
        values = np.array([row.scores[name] for row in rows])  # (images, samples)
        lower = better.get(name) == "lower"
        result[name] = float(values.mean())
        if name in consistency:
            result[f"{name}_worst"] = float(values.max() if lower else values.min())
        else:
            result[f"{name}_best"] = float((values.min(axis=1) if lower else values.max(axis=1)).mean())
    for name in rows[0].of_all if rows else ():
        result[name] = float(np.mean([row.of_all[name] for row in rows]))
    return result
