"""Tables and figures of the paper, each by one command.

python tools/reproduce.py fig3 --preset small --data PHOTOGRAPHS --features SQUEEZENET_STATE_DICT
"""

import argparse
from pathlib import Path

import tim_plugin  # noqa: F401  mends and registers; must come before any import of basicsr
from tim_plugin.inference import choose_device
from tim_plugin.reproduction.figure3 import reproduce_figure3
from tim_plugin.train_pipeline import run

ROOT = Path(__file__).resolve().parents[1]
TARGETS = {"fig3": reproduce_figure3}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("--preset", choices=["small"], default="small", help="small: what two CPU cores finish")
    parser.add_argument("--data", type=Path, required=True, help="folder of photographs, with train and val")
    parser.add_argument(
        "--features", default="random", help="squeezenet1_1's weights for the distance: random, imagenet, or a path"
    )
    parser.add_argument("--device", default=None, help="cpu, cuda, cuda:1 (default: cuda where there is one)")
    args = parser.parse_args()
    run(lambda: print_result(args))


def print_result(args: argparse.Namespace) -> None:
    TARGETS[args.target](ROOT, args.data, args.features, choose_device(args.device))
    print((ROOT / "docs" / "results" / args.preset / f"{args.target}.md").read_text(), flush=True)


if __name__ == "__main__":
    main()
