"""Make towers that the package holds: train, write the weights into the package, measure, and write docs/models/NAME.*

python tools/make_weights.py --name sr16x-small --data DATA --features SQUEEZENET_STATE_DICT --teacher VGG16_STATE_DICT

A tower that is trained already is only measured and written again.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

from tim_plugin.cli.start import starting  # first, since tim_plugin also fixes BasicSR's imports

with starting():
    from paper.presets import SMALL
    from paper.workbench import Workbench
    from tim_plugin.cli.run import run
    from tim_plugin.inference.devices import choose_device
    from tim_plugin.utils.errors import TimError
    from towers.data import all_photographs_to_train_on
    from towers.make import make_weights
    from towers.recipes import TOWERS, Shipped

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", nargs="+", required=True, help=f"towers to make: {', '.join(TOWERS)}")
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        help="what they are trained on: BSDS500's folder with train, test and val, or one that holds it as bsds500, "
        f"beside photos for {_listed(lambda tower: tower.training_data is all_photographs_to_train_on)}; the flowers' "
        "folder; CamVid's; MNIST's",
    )
    parser.add_argument(
        "--features", default="random", help="weights of squeezenet1_1: random (default), imagenet, or a file's path"
    )
    parser.add_argument("--teacher", type=Path, help=f"weights of vgg16, for {_listed(lambda tower: tower.teacher)}")
    parser.add_argument("--jobs", type=int, default=1, help="training runs at a time (default: 1)")
    parser.add_argument("--device", help="cpu, cuda, cuda:1 (default: cuda where there is one)")
    args = parser.parse_args()
    run(lambda: make(args))


def _listed(wanted: Callable[[Shipped], object]) -> str:
    return ", ".join(name for name, tower in TOWERS.items() if wanted(tower))


def make(args: argparse.Namespace) -> None:
    if args.jobs < 1:
        raise TimError(f"--jobs {args.jobs}: must be 1 or more")
    bench = Workbench(ROOT, SMALL, args.data, args.features, choose_device(args.device), args.jobs)
    make_weights(bench, args.name, args.teacher)


if __name__ == "__main__":
    main()
