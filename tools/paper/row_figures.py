"""All that a table's row has: distances, sets, whether samples are distributed like the truth, and what they cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from basicsr.data import build_dataset

from paper.posterior_figures import posterior_figures, posterior_table
from paper.run_conditions import machine
from paper.sample_cost import AT_ONCE, sample_cost
from paper.set_figures import floor_figures, set_figures, set_tables
from paper.systems import System
from paper.workbench import Workbench


def all_figures(bench: Workbench, system: System, checkpoint: Path | None) -> dict[str, Any]:
    """Return a network's figures (:meth:`Workbench.figures`) with those of sets, their floor, and a sample's cost.

    A system that samples also has ``posterior``: whether its samples are distributed like the truth.

    Each is kept by itself, so that figures that were measured before any of the others was stay.
    """
    posterior = {"posterior": posterior_figures(bench, system, checkpoint)} if system.several else {}
    return {
        **bench.figures(system, checkpoint),
        **posterior,
        "sets": set_figures(bench, system, checkpoint),
        "floor": floor_figures(bench, system),
        "cost": _cost(bench, system, checkpoint),
    }


def _cost(bench: Workbench, system: System, checkpoint: Path | None) -> dict[str, Any]:
    made_by = machine(bench.root, bench.device)
    what = {"at_once": AT_ONCE, **{name: made_by[name] for name in ("hardware", "versions")}}

    def measure() -> dict[str, Any]:
        item = build_dataset(bench.dataset(system))[0]
        return sample_cost(bench.network(system, checkpoint), item, bench.device)

    return bench.kept("cost", system, checkpoint, what, measure)


def further_tables(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """Return the lines of the tables that stand below one of distances: of the posterior, and of sets by each judge.

    Args:
        rows: Of :func:`all_figures` by system, one for each seed.
    """
    return [*posterior_table(rows), *set_tables(rows)]
