"""The ``val: metrics`` section as functions of one sample and its GT; BasicSR's registry does the work."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from basicsr.metrics import calculate_metric
from basicsr.utils.registry import METRIC_REGISTRY

from tim_plugin.errors import TimError, did_you_mean
from tim_plugin.option_sections import refuse_near_misses, require
from tim_plugin.options import check_keys

# What a metric's best value is where `better` is not given; BasicSR takes every metric for `higher`.
LOWER_IS_BETTER = {"calculate_lpips", "calculate_niqe"}


class Metric(NamedTuple):
    """A metric of one sample: a function of it and its GT (HWC BGR uint8; None without GT), and which way is better."""

    function: Callable[[np.ndarray, np.ndarray | None], float]
    better: str = "higher"
    needs_gt: bool = True


def metrics_from_options(section: Mapping[str, Mapping[str, Any]] | None) -> dict[str, Metric]:
    """Turn ``val: metrics`` into metrics by name.

    Raises:
        TimError: A metric's type is missing or not registered, or a key is none of its arguments.
    """
    return {name: _metric(name, dict(options)) for name, options in (section or {}).items()}


def _metric(name: str, options: dict[str, Any]) -> Metric:
    kind = options.get("type")
    if kind not in METRIC_REGISTRY:
        raise TimError(
            f"val: metrics: {name}: type {kind!r} is not registered: {did_you_mean(str(kind), METRIC_REGISTRY.keys())}"
        )
    parameters = inspect.signature(METRIC_REGISTRY.get(kind)).parameters
    _check_arguments(f"val: metrics: {name}", options, parameters)
    better = options.get("better", "lower" if kind in LOWER_IS_BETTER else "higher")

    def function(image: np.ndarray, gt: np.ndarray | None) -> float:
        return calculate_metric({"img": image} if gt is None else {"img": image, "img2": gt}, options)

    return Metric(function, better, "img2" in parameters)


def _check_arguments(section: str, options: Mapping[str, Any], parameters: Mapping[str, inspect.Parameter]) -> None:
    """Refuse a key that the metric does not take; BasicSR's own take any, of which only a near miss is refused."""
    named = {key for key, value in parameters.items() if value.kind is not value.VAR_KEYWORD} - {"img", "img2"}
    takes_any = any(value.kind is value.VAR_KEYWORD for value in parameters.values())
    (refuse_near_misses if takes_any else check_keys)(section, options, named | {"type", "better"})
    require(section, options, tuple(key for key in named if parameters[key].default is inspect.Parameter.empty))
