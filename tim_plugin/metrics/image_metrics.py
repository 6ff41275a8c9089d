"""The ``val: metrics`` section as functions of samples and their GT; BasicSR's registry does the work."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from basicsr.metrics import calculate_metric
from basicsr.utils.registry import METRIC_REGISTRY

from tim_plugin.metrics.several_samples import LEAST_SAMPLES
from tim_plugin.options.plain_checks import check_keys, refuse_near_misses, require
from tim_plugin.utils.errors import TimError, did_you_mean

IMAGES = {"img", "img2", "samples"}  # arguments that hold images
# What a metric's best value is where `better` is not given; BasicSR takes every metric for `higher`.
LOWER_IS_BETTER = {"calculate_lpips", "calculate_niqe"}


class Metric(NamedTuple):
    """A metric.

    Attributes:
        function: Of a sample and its GT (HWC BGR uint8; None without GT), or of a list of all samples and the GT.
        better: ``higher`` or ``lower``.
        needs_gt: Whether it compares with the GT.
        of_all: Whether it is of all samples of an input together.
        options: Its section.
    """

    function: Callable[[Any, np.ndarray | None], float]
    better: str = "higher"
    needs_gt: bool = True
    of_all: bool = False
    options: Mapping[str, Any] = {}


def metrics_from_options(section: Mapping[str, Mapping[str, Any]] | None, num_samples: int) -> dict[str, Metric]:
    """Turn ``val: metrics`` into metrics by name.

    ``lpips`` in a name is LPIPS in logs too: measured with other weights, it becomes ``tim_small_distance``, say.

    Args:
        section: As the option file has it.
        num_samples: Of each input.

    Raises:
        TimError: A metric's type is missing or not registered, a key is none of its arguments, or it takes more
            samples than there are.
    """
    section = section or {}
    return {_honest(name, options): _metric(name, dict(options), num_samples) for name, options in section.items()}


def _honest(name: str, options: Mapping[str, Any]) -> str:
    """Return the name, with what was measured in place of an LPIPS that it is not."""
    is_random = options.get("weights") == "random"
    if not is_random and options.get("calibration", "lpips") == "lpips":
        return name
    measured = f"{options.get('backbone', 'vgg16')}{'_random' if is_random else ''}_distance"
    return re.sub("lpips", measured, name, flags=re.IGNORECASE)


def _metric(name: str, options: dict[str, Any], num_samples: int) -> Metric:
    kind = options.get("type")
    if kind not in METRIC_REGISTRY:
        raise TimError(
            f"val: metrics: {name}: type {kind!r} is not registered: {did_you_mean(str(kind), METRIC_REGISTRY.keys())}"
        )
    parameters = inspect.signature(METRIC_REGISTRY.get(kind)).parameters
    _check_arguments(f"val: metrics: {name}", options, parameters)
    if num_samples < LEAST_SAMPLES.get(kind, 1):
        raise TimError(
            f"val: metrics: {name}: {kind} takes at least {LEAST_SAMPLES[kind]} samples of each image, and val: "
            f"num_samples is {num_samples}"
        )
    better = options.get("better", "lower" if kind in LOWER_IS_BETTER else "higher")
    of_all = kind in LEAST_SAMPLES
    needs_gt = "img2" in parameters

    def function(images: Any, gt: np.ndarray | None) -> float:
        data = {"samples" if of_all else "img": images}
        return calculate_metric({**data, "img2": gt} if needs_gt and gt is not None else data, options)

    return Metric(function, better, needs_gt, of_all, options)


def _check_arguments(section: str, options: Mapping[str, Any], parameters: Mapping[str, inspect.Parameter]) -> None:
    """Refuse a key that the metric does not take; BasicSR's own take any, of which only a near miss is refused."""
    named = {key for key, value in parameters.items() if value.kind is not value.VAR_KEYWORD} - IMAGES
    takes_any = any(value.kind is value.VAR_KEYWORD for value in parameters.values())
    (refuse_near_misses if takes_any else check_keys)(section, options, named | {"type", "better"})
    require(section, options, tuple(key for key in named if parameters[key].default is inspect.Parameter.empty))
