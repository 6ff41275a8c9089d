"""Whether a network's samples are distributed like the truth: what a table has beside distances and sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch.utils.data import Subset

from paper.pages import spread, table
from paper.systems import System
from paper.workbench import AT_ONCE, SAMPLING_SEED, Workbench, evenly_spread
from tim_plugin.metrics.calibration import LEVELS, SPACES
from tim_plugin.metrics.case_measures import Tools, score
from tim_plugin.metrics.network_cases import NetworkCases
from tim_plugin.utils.metric_names import OF_POSTERIOR, VARIATION

INPUTS = 40
NUM_SAMPLES = 32
METRICS = ("lpips", "lpips_diversity", *OF_POSTERIOR, VARIATION)
_COVERAGE = f"coverage of {', '.join(f'{level:.0%}'[:-1] for level in LEVELS)} %"
HEADER = (
    *("energy score: pixels", "features", "CRPS: pixels", "features"),
    *("spread over error: pixels", "features", f"{_COVERAGE}: pixels", "features"),
)
MEANING = """For samples that are
distributed like the truth the spread over the error is 1 and the coverage of an interval is its level; below, they are
too much alike for how far off they are. Energy score, CRPS and best of k: less is better."""
Row = Mapping[str, Any]


def measure_posterior(bench: Workbench, cases: NetworkCases) -> dict[str, Any]:
    """Return :data:`METRICS` of evenly spread ones of a network's cases, and how many these were.

    Args:
        bench: Distance, machine.
        cases: Of :data:`NUM_SAMPLES` samples each; :data:`INPUTS` of them, or all, are measured.
    """
    cases.dataset = Subset(cases.dataset, evenly_spread(len(cases), INPUTS))
    return {"images": len(cases), **score(cases, Tools(METRICS, bench.distance, device=bench.device), {}, len(cases))}


def posterior_figures(bench: Workbench, system: System, checkpoint: Path | None) -> dict[str, Any]:
    """Return :func:`measure_posterior` of a system on the preset's images, from the run's folder if they are there."""

    def measure() -> dict[str, Any]:
        network, dataset = bench.network(system, checkpoint), bench.dataset(system)
        return measure_posterior(
            bench, NetworkCases(dataset, network, NUM_SAMPLES, SAMPLING_SEED, bench.device, AT_ONCE)
        )

    return bench.kept("posterior", system, checkpoint, {"measured": [*METRICS, INPUTS, NUM_SAMPLES]}, measure)


def posterior_table(rows: Mapping[str, Sequence[Row]]) -> list[str]:
    """Return a page's lines: a table with a row for each system that samples.

    Args:
        rows: By system figures with ``posterior``, one for each seed; others are left out.
    """
    known = {name: [row["posterior"] for row in seeds] for name, seeds in rows.items() if "posterior" in seeds[0]}
    if not known:
        return []
    header = ["system", *HEADER, f"best of {NUM_SAMPLES}"]
    lines = [[name, *posterior_cells(seeds), spread([_best(one) for one in seeds])] for name, seeds in known.items()]
    first = next(iter(known.values()))[0]
    about = f"{NUM_SAMPLES} samples of each of {first['images']} evenly spread images. {MEANING}"
    return ["", *table(header, lines), "", about]


def posterior_cells(seeds: Sequence[Row]) -> list[str]:
    """Return the cells of :data:`HEADER` for figures of :func:`measure_posterior`, one for each seed."""
    cells = [
        spread([one[name][space] for one in seeds], form)
        for name, form in (("energy_score", ".4f"), ("crps", ".4f"), ("spread_over_error", ".2f"))
        for space in SPACES
    ]
    for space in SPACES:
        of_levels = zip(*(one["coverage"][space].values() for one in seeds), strict=True)
        cells.append(", ".join(spread([100 * value for value in values], ".0f") for values in of_levels))
    return cells


def _best(one: Row) -> float:
    return one["lpips"]["best_of_curve"][NUM_SAMPLES - 1]
