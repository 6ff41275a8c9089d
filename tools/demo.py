"""A whole road in minutes, on a CPU and without a download: python tools/demo.py sr16x"""

import argparse
from functools import partial
from pathlib import Path

from tim_plugin.cli.start import starting  # first, since tim_plugin also fixes BasicSR's imports

with starting():
    from demos.digits_demo import compare_digits_consistency, run_digits_demo
    from demos.layouts_demo import LAYOUTS
    from demos.restoration_demo import DEMOS, compare_demo, picture_demo, run_demo
    from tim_plugin.cli.run import run

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
        "--data",
        type=Path,
        default=None,
        help=f"{DIGITS}: folder of MNIST's idx files (default: bundled digits); "
        f"{LAYOUTS}: CamVid, with train/images, train/labels, val/images, val/labels (default: datasets/camvid)",
    )
    parser.add_argument(
        "--picture",
        type=Path,
        metavar="JPEG",
        default=None,
        help="only write a picture of what the package's tower makes of the held-out photographs",
    )
    args = parser.parse_args()
    check(parser, args)
    if args.picture is not None:
        run(partial(picture_demo, args.name, ROOT, args.picture))
    elif args.name == DIGITS:
        run(partial(compare_digits_consistency if args.compare else run_digits_demo, ROOT, args.data))
    else:
        run(partial(compare_demo if args.compare else run_demo, args.name, ROOT, args.data))


def check(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    if args.picture is not None and (args.name in (DIGITS, LAYOUTS) or args.compare):
        parser.error("--picture is for demos with photographs, without --compare")
    if args.data is not None and args.name not in (DIGITS, LAYOUTS):
        parser.error(f"--data is for {DIGITS} and {LAYOUTS}; {args.name} has its own photographs")


if __name__ == "__main__":
    main()
