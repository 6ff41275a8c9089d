"""Ratios of two ways of doing the same thing, measured in one run: python tools/benchmark.py selection"""

import argparse
import json
from pathlib import Path

import tim_plugin  # noqa: F401  mends and registers; must come before any import of basicsr
from tim_plugin.benchmark import SETTINGS, as_json, benchmark_selection, selection_table
from tim_plugin.train_pipeline import run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["selection"], help="selection: the search for the nearest candidate")
    parser.add_argument("--network", choices=sorted(SETTINGS), nargs="+", default=sorted(SETTINGS))
    parser.add_argument("--repeats", type=int, default=5, help="pairs that are timed (default: 5)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, default=None, help="write the figures to this file too")
    args = parser.parse_args()
    results = [benchmark_selection(name, args.repeats, args.device) for name in args.network]
    print(selection_table(results))
    if args.json is not None:
        args.json.write_text(json.dumps(as_json(results), indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run(main)
