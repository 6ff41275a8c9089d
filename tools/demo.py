"""A whole road in minutes, on a CPU and without a download: python tools/demo.py sr16x"""

import argparse
from functools import partial
from pathlib import Path

import tim_plugin  # noqa: F401  mends and registers; must come before any import of basicsr
from tim_plugin.demo import DEMOS, run_demo
from tim_plugin.train_pipeline import run

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=sorted(DEMOS), nargs="?", default="sr16x")
    run(partial(run_demo, parser.parse_args().name, Path(__file__).resolve().parents[1]))
