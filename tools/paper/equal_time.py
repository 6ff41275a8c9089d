"""How many iterations each of several systems gets, so that all are trained for the time of the first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from paper.cached_runs import kept_json
from paper.run_conditions import machine
from paper.step_time import clock_of, step_seconds
from paper.systems import System, length_of
from paper.workbench import Workbench

FOLDER = "reproduce_equal_time"


class Times(NamedTuple):
    """What was measured of several systems by turns.

    Attributes:
        seconds: An iteration's, by system.
        iterations: That each is trained for, by system.
        clock: What the seconds are.
    """

    seconds: Mapping[str, float]
    iterations: Mapping[str, int]
    clock: str

    def training(self, name: str) -> dict[str, float]:
        """Return a system's iterations, seconds an iteration and minutes."""
        iterations, seconds = self.iterations[name], self.seconds[name]
        return {"iterations": iterations, "seconds_an_iteration": seconds, "minutes": iterations * seconds / 60}


def equal_time(bench: Workbench, label: str, systems: Mapping[str, System], fixed: bool = False) -> Times:
    """Return how long systems are trained so that all take the first one's time; measured once, and kept.

    What is kept is found again by the runs that the systems have in their own lengths, on any machine.

    Args:
        bench: Preset, data, machine.
        label: Of the file that keeps it, below ``experiments/reproduce_equal_time``.
        systems: By name; all are trained.
        fixed: Whether they keep the iterations of their options, so that only the time is measured.
    """
    runs = {name: bench.run(system, bench.preset.seeds[0]) for name, system in systems.items()}
    first = next(iter(runs))
    key = {name: run.name() for name, run in runs.items()}

    def measure() -> dict[str, Any]:
        hardware = machine(bench.root, bench.device)["hardware"]
        return {"seconds": step_seconds(runs), "clock": f"{clock_of(runs[first])}, on {hardware}"}

    kept = kept_json(bench.root / "experiments" / FOLDER, label, key, measure)
    seconds, total = kept["seconds"], runs[first].iterations()
    lengths = {
        name: run.iterations() if fixed else max(round(total * seconds[first] / seconds[name]), 1)
        for name, run in runs.items()
    }
    return Times(seconds, lengths, kept["clock"])


def trained_for(bench: Workbench, system: System, iterations: int) -> System:
    """Return a system that is trained for so many iterations; one that is anyway stays as it is."""
    if bench.run(system, bench.preset.seeds[0]).iterations() == iterations:
        return system
    return replace(system, overrides={**system.overrides, **length_of(iterations)})
