"""Figures of training data by which a tower's temperature is chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn
from torch.utils.data import Subset

from paper.pages import table
from paper.workbench import AT_ONCE, SAMPLING_SEED, evenly_spread
from tim_plugin.metrics.case_measures import Tools, score
from tim_plugin.metrics.network_cases import NetworkCases
from towers.judge import METRICS, Judge

INPUTS, SAMPLES = 24, 16
HEADER = ["temperature", "mean distance", f"best of {SAMPLES}", "energy score: pixels, features", "coverage of 80 %"]


def by_temperature(
    judge: Judge, network: nn.Module, section: Mapping[str, Any], temperatures: Sequence[float]
) -> list[str]:
    """Return a table of a tower's figures at each temperature: its lowest energy score is the best distribution.

    Args:
        judge: By whose distance.
        network: In eval mode.
        section: Of a data set that it was trained on, so that what is held out has no part in the choice.
        temperatures: See :func:`tim_plugin.inference.sampler.sample_chunks`.
    """
    rows = []
    for temperature in temperatures:
        cases = NetworkCases(section, network, SAMPLES, SAMPLING_SEED, judge.device, AT_ONCE, temperature)
        cases.dataset = Subset(cases.dataset, evenly_spread(len(cases.dataset), INPUTS))
        found = score(cases, Tools(METRICS, judge.distance, device=judge.device), cases.measured, len(cases))
        energy, coverage, curve = found["energy_score"], found["coverage"], found["lpips"]["best_of_curve"]
        energies = f"{energy['pixels']:.4f}, {energy['features']:.4f}"
        covered = ", ".join(f"{coverage[space]['80%']:.0%}" for space in ("pixels", "features"))
        rows.append([f"{temperature:g}", f"{curve[0]:.3f}", f"{curve[-1]:.3f}", energies, covered])
    return table(HEADER, rows)
