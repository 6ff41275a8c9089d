"""Tables and figures of the paper, each by one command, with its conditions, into docs/results/PRESET.

python tools/reproduce.py table5 --preset small --data PHOTOGRAPHS --features SQUEEZENET_STATE_DICT --jobs 2
"""

import argparse
from pathlib import Path

from tim_plugin.cli.start import starting  # first, since tim_plugin also fixes BasicSR's imports

with starting():
    from paper.presets import PRESETS
    from paper.targets import ALL, TARGETS, WEIGHTS, reproduce
    from tim_plugin.cli.run import run

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=[*TARGETS, ALL, WEIGHTS])
    parser.add_argument(
        "--preset",
        choices=list(PRESETS),
        default="small",
        help="small: what two CPU cores finish; gpu: larger, for one GPU; paper: as published",
    )
    parser.add_argument("--data", type=Path, help="folder of photographs, with train and val")
    parser.add_argument("--mnist", type=Path, help="fig1: folder of MNIST's idx files (default: scikit-learn's digits)")
    parser.add_argument(
        "--features", help="the feature network's weights: imagenet, random (fig3 only), or a state dict's path"
    )
    parser.add_argument("--name", nargs="+", help=f"{WEIGHTS}, which is now tools/make_weights.py: towers to make")
    parser.add_argument("--tasks", help="comma-separated, of those that the target has (default: all)")
    parser.add_argument("--seeds", type=int, help="training runs of each variant (default: the preset's)")
    parser.add_argument("--jobs", type=int, default=1, help="training runs at a time (default: 1)")
    parser.add_argument(
        "--finished",
        action="store_true",
        help="table2 to table4: train nothing; the page has the runs that are finished",
    )
    parser.add_argument(
        "--add",
        action="store_true",
        help="table2 to table4: runs that the page has, of another machine for instance, stay; the others are added",
    )
    parser.add_argument(
        "--device", default=None, help="cpu, cuda, cuda:1 (default: cuda where there is one; fig1 runs on the CPU)"
    )
    args = parser.parse_args()
    run(lambda: reproduce(ROOT, args))


if __name__ == "__main__":
    main()
