"""``tim evaluate`` as a function."""

from __future__ import annotations

import argparse

import pytest

from tim_plugin.cli.evaluate import add_evaluate_arguments, evaluate


@pytest.fixture
def run_tool():
    """Return a function that runs the command with the arguments that it is given, in this process."""

    def run(*arguments):
        parser = argparse.ArgumentParser(prog="tim evaluate")
        add_evaluate_arguments(parser)
        evaluate(parser.parse_args([*map(str, arguments)]))

    return run
