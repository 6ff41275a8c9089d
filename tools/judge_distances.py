"""Towers that differ in the distance that they are trained by, judged by a network that is none of them.

python tools/judge_distances.py --data DATA --features SQUEEZENET_STATE_DICT --teacher VGG16_STATE_DICT

Trains what is missing and writes docs/models/distances.json, distances.md and distances.jpg.
"""

import argparse
from pathlib import Path

from tim_plugin.cli.start import starting  # first, since tim_plugin also fixes BasicSR's imports

with starting():
    from tim_plugin.cli.run import run
    from tim_plugin.inference.devices import choose_device
    from tim_plugin.utils.errors import TimError
    from towers.distances import compare_distances

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="holds bsds500 and photos, each with train and val")
    parser.add_argument("--features", type=Path, required=True, help="state dict of squeezenet1_1")
    parser.add_argument("--teacher", type=Path, required=True, help="state dict of vgg16")
    parser.add_argument("--iters", type=int, default=500, help="steps of each tower (default: 500)")
    parser.add_argument("--jobs", type=int, default=1, help="training runs at a time (default: 1)")
    parser.add_argument(
        "--only", nargs="+", default=(), metavar="LABEL", help="of the page's rows only these; the others stay there"
    )
    parser.add_argument("--device", help="where they are judged: cpu, cuda, cuda:1 (default: cuda where there is one)")
    args = parser.parse_args()
    run(lambda: compare(args))


def compare(args: argparse.Namespace) -> None:
    for name in ("iters", "jobs"):
        if getattr(args, name) < 1:
            raise TimError(f"--{name} {getattr(args, name)}: must be 1 or more")
    features, teacher = (str(path.expanduser().resolve()) for path in (args.features, args.teacher))
    device = choose_device(args.device)
    compare_distances(ROOT, args.data.expanduser(), features, teacher, args.iters, args.jobs, device, args.only)


if __name__ == "__main__":
    main()
