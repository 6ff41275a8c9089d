"""A page from benchmarks' JSON files: python tools/benchmark_report.py docs/benchmarks/*.json -o docs/benchmarks.md"""

import argparse
from pathlib import Path

from tim_plugin.cli.start import starting  # first, since tim_plugin also fixes BasicSR's imports

with starting():
    from speed.report_page import page
    from tim_plugin.cli.run import run
    from tim_plugin.utils.writing import write_atomically


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", type=Path, nargs="+", help="written by tools/benchmark.py --json")
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()
    write_atomically(args.output, page(args.files).encode())
    print(f"written: {args.output}")


if __name__ == "__main__":
    run(main)
