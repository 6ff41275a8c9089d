"""A whole road in minutes, on a CPU and without a download: python tools/demo.py sr16x"""

import argparse
from functools import partial
from pathlib import Path

import tim_plugin  # noqa: F401  mends and registers; must come before any import of basicsr
from tim_plugin.demos.digits import compare_digits_consistency, run_digits_demo
from tim_plugin.demos.restoration import DEMOS, compare_photographs, run_demo
from tim_plugin.train_pipeline import run

ROOT = Path(__file__).resolve().parents[1]
DIGITS = "mnist_pca"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=sorted([*DEMOS, DIGITS]), nargs="?", default="sr16x")
    parser.add_argument(
        "--compare",
        action="store_true",
        help="train without and with consistency and measure: off, on at the end only, trained through",
    )
    parser.add_argument(
        "--mnist", type=Path, default=None, help=f"{DIGITS}: folder of MNIST's idx files (default: bundled digits)"
    )
    args = parser.parse_args()
    if args.name == DIGITS:
        run(partial(compare_digits_consistency if args.compare else run_digits_demo, ROOT, args.mnist))
    elif args.mnist is not None:
        parser.error(f"--mnist is for {DIGITS}")
    else:
        run(partial(compare_photographs if args.compare else run_demo, args.name, ROOT))


if __name__ == "__main__":
    main()
