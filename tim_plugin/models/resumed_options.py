"""A resumed run's optimizers and schedules: their options are those of its option file, and not of the state."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from operator import itemgetter
from typing import Any

from basicsr.models.lr_scheduler import MultiStepRestartLR

_OPTIMIZER = ("betas", "eps", "weight_decay", "momentum", "nesterov", "rho")  # what a state's averages do not depend on
_SCHEDULER = ("milestones", "gamma", "restarts", "restart_weights", "periods", "eta_min")
_NAMES = {"base_lrs": "initial learning rates"}
_NAMES |= {name: f"optim_g: {name}" for name in _OPTIMIZER} | {name: f"scheduler: {name}" for name in _SCHEDULER}
_GROUP = ("initial_lr", *_OPTIMIZER)
_SCHEDULE = ("base_lrs", "cumulative_period", *_SCHEDULER)


class ResumedOptions:
    """What schedulers and their optimizers were built with, to be put back after a state was loaded into them.

    Args:
        schedulers: BasicSR's, as they were built.
    """

    def __init__(self, schedulers: Sequence[Any]) -> None:
        self.schedulers = list(schedulers)
        self._schedules = [_of_schedule(scheduler) for scheduler in self.schedulers]
        self._groups = [[_of_group(group) for group in _groups(scheduler)] for scheduler in self.schedulers]

    def put_back(self, warmup_iters: int) -> list[str]:
        """Put them back, and set the rates that they give where the state stopped; what is equal stays bit by bit.

        Args:
            warmup_iters: Iterations in which the rate grows from 0; below 1 for none.

        Returns:
            What differed, with both values, for the log.
        """
        told: list[str] = []
        for scheduler, schedule, groups in zip(self.schedulers, self._schedules, self._groups, strict=True):
            stored = _of_schedule(scheduler)
            for key in stored.keys() - schedule.keys():  # of a schedule of another type
                delattr(scheduler, key)
            differences = _differences(stored, schedule)
            vars(scheduler).update(schedule)
            for group, own in zip(_groups(scheduler), groups, strict=True):
                differences += _differences(_of_group(group), own)
                group.update(own)
            rates = _set_rates(scheduler, warmup_iters)
            told += differences or rates  # of another warm-up, a state holds nothing but the rates
        return list(dict.fromkeys(told))  # once for all groups


def rate_factor(scheduler: MultiStepRestartLR, warmup_iters: int) -> float:
    """Return the rate over the initial one where a schedule of steps has come to, warm-up included."""
    if scheduler.last_epoch + 1 < warmup_iters:
        return (scheduler.last_epoch + 1) / warmup_iters
    restarts = [
        restart
        for restart in zip(scheduler.restarts, scheduler.restart_weights, strict=True)
        if restart[0] <= scheduler.last_epoch
    ]
    begin, weight = max(restarts, key=itemgetter(0), default=(0, 1.0))
    if begin == 0 and warmup_iters > 0:
        weight = 1.0  # a warm-up ends at the initial rate
    passed = sum(count for step, count in scheduler.milestones.items() if begin < step <= scheduler.last_epoch)
    return float(weight * scheduler.gamma**passed)


def _set_rates(scheduler: Any, warmup_iters: int) -> list[str]:
    if not isinstance(scheduler, MultiStepRestartLR):
        return []  # a cosine's next rate does not depend on the last one
    groups = _groups(scheduler)
    before, factor = [group["lr"] for group in groups], rate_factor(scheduler, warmup_iters)
    rates = [group["initial_lr"] * factor for group in groups]
    if all(math.isclose(*pair, rel_tol=1e-9) for pair in zip(before, rates, strict=True)):  # it was multiplied up
        return []
    for group, rate in zip(groups, rates, strict=True):
        group["lr"] = rate
    return [f"learning rates {rates}, not {before}"]


def _differences(stored: dict[str, Any], own: dict[str, Any]) -> list[str]:
    """Return one part of a sentence for each value that differs; None stands for one that is not there."""
    pairs = {key: (_plain(own.get(key)), _plain(stored.get(key))) for key in {**own, **stored} if key in _NAMES}
    return [f"{_NAMES[key]} {now}, not {before}" for key, (now, before) in pairs.items() if now != before]


def _plain(value: Any) -> Any:
    """Return a value as YAML would have it: tuples and counted numbers as lists."""
    if isinstance(value, Counter):
        return sorted(value.elements())
    return list(value) if isinstance(value, tuple) else value


def _of_schedule(scheduler: Any) -> dict[str, Any]:
    return {key: value for key, value in vars(scheduler).items() if key in _SCHEDULE}


def _of_group(group: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in group.items() if key in _GROUP}


def _groups(scheduler: Any) -> list[dict[str, Any]]:
    return scheduler.optimizer.param_groups
