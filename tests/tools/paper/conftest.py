"""The arguments of tools/reproduce.py."""

from __future__ import annotations

import argparse

import pytest


@pytest.fixture
def arguments():
    """Return a function: of what is given it makes all arguments, the others as they are by default, on the CPU."""

    def complete(**given):
        defaults = {
            "preset": "small",
            "mnist": None,
            "features": None,
            "tasks": None,
            "seeds": None,
            "jobs": 1,
            "name": None,
            "device": "cpu",
        }
        return argparse.Namespace(**{**defaults, **given})

    return complete
