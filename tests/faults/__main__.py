"""``make faults``: the whole fault suite, or some of it: python -m faults options --count 300 --seed 7 --verbose"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from pathlib import Path

import tim_plugin  # noqa: F401  fixes BasicSR before anything imports it
from faults import damaged_inputs, kills, odd, option_files
from faults.runner import FAILURES, Suite, run

# Each with the number of cases of the whole suite.
SUITES: dict[str, tuple[Suite, int]] = {
    "options": (option_files.cases, 1500),
    "inputs": (damaged_inputs.cases, 5000),
    "odd": (odd.cases, 300),
    "kills": (kills.cases, 200),
}


def main() -> int:
    """Run the suites; the exit status is 1 where anything failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"of {', '.join(SUITES)}; all if left out")
    parser.add_argument("--count", type=int, help="cases of each suite in place of its own number")
    parser.add_argument("--only", default="", metavar="REGEX", help="cases whose label has it")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--verbose", action="store_true", help="print every case, and not only those that fail")
    args = parser.parse_args()
    failed = 0

    def show(line: str) -> None:
        if args.verbose or line.startswith(FAILURES):
            print(line.encode(errors="backslashreplace").decode(), flush=True)

    for name in args.suites or SUITES:
        suite, count = SUITES[name]
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            cases = suite(Path(folder), args.count or count, args.seed)
            report = run((case for case in cases if re.search(args.only, case.label)), show)
        print(f"{name}: {report} ({time.monotonic() - began:.0f} s)", flush=True)
        failed += len(report.failures)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
