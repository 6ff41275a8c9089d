"""Towers by a network that is neither their loss nor their teacher, EfficientNet-Lite0, beside what they replace.

python tools/judge_towers.py --name flowers-sr8x --data DATA
python tools/judge_towers.py --name sr4x-small --data DATA --beside OLD.safetensors

Writes docs/models/judged.json and judged.md, where what stands of other towers stays, and the gallery.
"""

import argparse
from pathlib import Path

from tim_plugin.cli.start import starting  # first, since tim_plugin also fixes BasicSR's imports

with starting():
    from tim_plugin.cli.run import run
    from tim_plugin.inference.devices import choose_device
    from tim_plugin.utils.errors import TimError, did_you_mean
    from towers.judged_page import judge_towers
    from towers.recipes import TOWERS

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    judged = [name for name, shipped in TOWERS.items() if shipped.judged_on]
    parser.add_argument("--name", nargs="+", required=True, help=f"towers: {', '.join(judged)}")
    parser.add_argument(
        "--data", type=Path, required=True, help="holds bsds500, photos and flowers, each with train and val"
    )
    parser.add_argument("--beside", type=Path, help="another tower's file, measured alike, such as the one it replaces")
    parser.add_argument("--device", help="cpu, cuda, cuda:1 (default: cuda where there is one)")
    args = parser.parse_args()
    run(lambda: judge(args, judged))


def judge(args: argparse.Namespace, judged: list[str]) -> None:
    for name in args.name:
        if name not in judged:
            raise TimError(f"--name {name}: is no tower that is judged: {did_you_mean(name, judged)}")
    judge_towers(ROOT, args.data.expanduser(), args.name, args.beside, choose_device(args.device))


if __name__ == "__main__":
    main()
