"""A whole road in minutes, on a CPU and without a download: python tools/demo.py sr16x"""

import argparse
from functools import partial
from pathlib import Path

from tim_plugin.cli.start import starting  # first, since tim_plugin also fixes BasicSR's imports

with starting():
    from demos.digits_demo import DEMO as DIGITS_DEMO
    from demos.digits_demo import compare_digits_consistency, run_digits_demo
    from demos.layouts_demo import LAYOUTS
    from demos.restoration_demo import DEMOS, compare_demo, picture_demo, run_demo
    from tim_plugin.cli.run import run

ROOT = Path(__file__).resolve().parents[1]
DIGITS = "mnist_pca"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=[*DEMOS, DIGITS], nargs="?", help="without it, the demos are listed")
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
    if args.name is None:
        print(listed())
    elif args.picture is not None:
        run(partial(picture_demo, args.name, ROOT, args.picture))
    elif args.name == DIGITS:
        run(partial(compare_digits_consistency if args.compare else run_digits_demo, ROOT, args.data))
    else:
        run(partial(compare_demo if args.compare else run_demo, args.name, ROOT, args.data))


def listed() -> str:
    """Return a line for each demo, and how one is started."""
    lines = [f"{name:16}{demo.what}" for name, demo in {**DEMOS, DIGITS: DIGITS_DEMO}.items()]
    return "\n".join([*lines, "python tools/demo.py NAME runs one of them; --help says more"])


def check(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    if args.name is None and (args.compare or args.data is not None or args.picture is not None):
        parser.error(f"these options need the name of a demo: {', '.join([*DEMOS, DIGITS])}")
    if args.picture is not None and (args.name in (DIGITS, LAYOUTS) or args.compare):
        parser.error("--picture is for demos with photographs, without --compare")
    if args.data is not None and args.name not in (DIGITS, LAYOUTS):
        parser.error(f"--data is for {DIGITS} and {LAYOUTS}; {args.name} has its own photographs")


if __name__ == "__main__":
    main()
