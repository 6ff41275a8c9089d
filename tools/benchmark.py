"""Ratios of two ways of doing the same thing, measured in one run: python tools/benchmark.py selection"""

import argparse
import json
from pathlib import Path

import tim_plugin  # noqa: F401  mends and registers; must come before any import of basicsr
from tim_plugin.benchmarks.inference import benchmark_inference
from tim_plugin.benchmarks.selection import benchmark_selection
from tim_plugin.benchmarks.settings import DEFAULT, SETTINGS
from tim_plugin.benchmarks.timing import as_json, described
from tim_plugin.train_pipeline import run

BENCHMARKS = {"inference": benchmark_inference, "selection": benchmark_selection}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=list(BENCHMARKS), help="selection: the search; inference: many samples, tiles")
    parser.add_argument("--network", choices=list(SETTINGS), nargs="+", default=DEFAULT)
    parser.add_argument("--repeats", type=int, default=5, help="pairs that are timed (default: 5)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, default=None, help="write the figures to this file too")
    args = parser.parse_args()
    results = [one for name in args.network for one in BENCHMARKS[args.what](name, args.repeats, args.device)]
    print("\n".join(described(one) for one in results))
    if args.json is not None:
        args.json.write_text(json.dumps(as_json(results), indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run(main)
