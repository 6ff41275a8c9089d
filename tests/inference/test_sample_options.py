"""The options of sampling: their ranges, and how level seeds are written."""

from __future__ import annotations

import numpy as np
import pytest

from tim_plugin.inference.arguments import (
    PYTHON_NAMES,
    Resources,
    SampleOptions,
    arguments_named,
    numbers_of_samples,
    parse_level_seeds,
    parse_temperature,
)
from tim_plugin.utils.errors import TimError


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tile": "x"}, "--tile x: must be auto, 0"),
        ({"tile": -4}, "--tile -4: must be auto, 0"),
        ({"precision": "fp16"}, "--precision fp16 is not known: did you mean 'bf16'"),
        ({"memory_gib": 0.0}, "--memory-gib 0.0: must be above 0"),
        ({"memory_gib": float("nan")}, "--memory-gib nan: must be above 0"),
        ({"memory_gib": float("inf")}, "--memory-gib inf: must be above 0 and finite"),
        ({"memory_gib": 1e308}, "--memory-gib 1e.308: must be above 0 and finite"),
        ({"max_samples_per_batch": 0}, "--batch 0: must be at least 1"),
        ({"max_samples_per_batch": "4"}, "--batch '4': must be a whole number"),
        ({"memory_gib": "4"}, "--memory-gib '4': must be a number"),
        ({"memory_gib": None}, "--memory-gib None: must be a number"),
        ({"precision": None}, "--precision None is not known: valid: bf16, fp32"),
    ],
)
def test_mistakes_in_resources_are_named(options, message):
    with pytest.raises(TimError, match=message):
        Resources(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_samples": 0}, "-n 0: must be at least 1"),
        ({"num_samples": 10**30}, f"-n {10**30}: at most 100000; another --seed gives more"),
        ({"seed": -1}, "--seed -1: must be at least 0"),
        ({"level_seeds": [0, None, -2]}, "--level-seeds .*: give a list with a sample's number .* at least 0, or None"),
        ({"num_samples": "2"}, "-n '2': must be a whole number"),
        ({"num_samples": True}, "-n True: must be a whole number"),
        ({"seed": "a"}, "--seed 'a': must be a whole number"),
        ({"suffix": 3}, "--suffix must be a text, not 3"),
        ({"max_megapixels": None}, "--max-megapixels None: must be a number"),
        ({"frames": "no"}, "frames must be true or false, not 'no'"),
        ({"suffix": "a/b"}, "--suffix a/b: must not hold / or"),
        ({"max_megapixels": float("nan")}, "--max-megapixels nan: must be above 0"),
        ({"tile": "x"}, "--tile x: must be auto, 0"),
    ],
)
def test_mistakes_in_options_are_named(options, message):
    with pytest.raises(TimError, match=message):
        SampleOptions(**options)


def test_level_seeds_are_read_and_what_is_none_is_named():
    assert parse_level_seeds(None) is None
    assert parse_level_seeds("0, -,7") == [0, None, 7]
    with pytest.raises(TimError, match="--level-seeds 0,x: 'x' is neither a sample's number"):
        parse_level_seeds("0,x")


def test_temperatures_are_read():
    assert parse_temperature("1.5") == 1.5 and parse_temperature("2,1") == [2.0, 1.0]
    with pytest.raises(TimError, match="--temperature hot: write one number such as 1.5, or one for each level"):
        parse_temperature("hot")


@pytest.mark.parametrize(
    "given", [["a"], [1.5], [0, -1], [True], "12", 3, 1.5, [[1]], np.ones(2), np.ones((2, 2), int)]
)
def test_numbers_of_samples_are_whole_numbers_in_a_list(given):
    with pytest.raises(TimError, match=r"^level_seeds .*: give a list with a sample's number for each level") as caught:
        numbers_of_samples("level_seeds", given)
    assert "\n" not in str(caught.value)
    for whole in ([3, None, 0], (3, None, 0), [np.int64(3), None, 0]):
        assert numbers_of_samples("level_seeds", whole) == [3, None, 0]
    assert numbers_of_samples("level_seeds", np.array([2, 1])) == [2, 1]


def test_errors_name_arguments_of_python():
    text = "--max-megapixels 1: lower --batch or -n; -o names a/-i b--x -z"
    with pytest.raises(
        TimError, match="^max_megapixels 1: lower max_samples_per_batch or num_samples; output names a/-i b"
    ):
        with arguments_named(PYTHON_NAMES):
            raise TimError(text)
    with (
        pytest.raises(TimError, match="^max_megapixels 1: lower batch or -n; -o names a/-i b--x -z$"),
        arguments_named(),
    ):
        raise TimError(text)
