"""Train a perceptual backbone small enough to be shipped, from an ImageNet network or without one.

python tools/train_backbone.py --data PHOTOGRAPHS --teacher SQUEEZENET_STATE_DICT -o tim_small.safetensors

The same command goes on where it was interrupted.
"""

import argparse
from pathlib import Path

from tim_plugin.cli.start import starting  # first, since tim_plugin also fixes BasicSR's imports

with starting():
    from backbone.card import NOT_STATED
    from backbone.commands import train_backbone
    from backbone.student_training import TrainSpec
    from tim_plugin.cli.run import run

ROOT = Path(__file__).resolve().parents[1]
DEFAULT = TrainSpec()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders of photographs")
    parser.add_argument("--teacher", type=Path, help="state dict of squeezenet1_1 (default: learn without a teacher)")
    parser.add_argument("--iters", type=int, default=DEFAULT.iters, help=f"steps (default: {DEFAULT.iters})")
    parser.add_argument("--crops", type=int, default=DEFAULT.crops, help=f"in a batch (default: {DEFAULT.crops})")
    parser.add_argument("--lr", type=float, default=DEFAULT.lr, help=f"learning rate (default: {DEFAULT.lr})")
    parser.add_argument("--seed", type=int, default=DEFAULT.seed, help="of all that is random (default: 0)")
    parser.add_argument("--save-every-iters", type=int, default=DEFAULT.save_every_iters, help="keep the state")
    parser.add_argument("--often", nargs="+", default=(), metavar="FAMILY", help="distortions to draw more often")
    parser.add_argument("--init", type=Path, metavar="STATE", help="start from the weights of another run's .state.pth")
    parser.add_argument("--data-terms", default=NOT_STATED, help="licence of the photographs, for the card")
    parser.add_argument("--teacher-terms", default=NOT_STATED, help="licence of the teacher, for the card")
    parser.add_argument("--bundle", action="store_true", help="put the weights into the package and the card into docs")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("results/backbone/tim_small.safetensors"),
        help="(default: %(default)s)",
    )
    args = parser.parse_args()
    run(lambda: train_backbone(ROOT, args))


if __name__ == "__main__":
    main()
