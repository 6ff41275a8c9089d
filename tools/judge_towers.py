"""Towers by a network that is neither their loss nor their teacher, EfficientNet-Lite0, beside what they replace.

python tools/judge_towers.py --name flowers-sr8x --data DATA
python tools/judge_towers.py --name sr4x-small --data DATA --beside OLD.safetensors

Writes docs/models/judged.json and judged.md, where what stands of other towers stays, and the gallery. With
--temperatures it only prints what each of them gives on images that the tower was trained on.
"""

import argparse
from pathlib import Path

from tim_plugin.cli.start import starting  # first, since tim_plugin also fixes BasicSR's imports

with starting():
    from tim_plugin.cli.run import run
    from tim_plugin.inference import towers as pretrained
    from tim_plugin.inference.devices import choose_device
    from tim_plugin.utils.errors import TimError, did_you_mean
    from towers.by_temperature import by_temperature
    from towers.judge import Judge
    from towers.judged_page import BEFORE, BESIDE, judge_towers
    from towers.recipes import TOWERS

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    judged = [name for name, shipped in TOWERS.items() if shipped.judged_on]
    parser.add_argument("--name", nargs="+", required=True, help=f"towers: {', '.join(judged)}")
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        help="holds bsds500 (train, test, val), photos, flowers and camvid (train, val)",
    )
    parser.add_argument("--beside", type=Path, help="another tower's file, measured alike, such as the one it replaces")
    parser.add_argument("--beside-as", choices=BESIDE, default=BEFORE, help=f"what it is (default: {BEFORE})")
    parser.add_argument("--temperatures", nargs="+", type=float, metavar="T", help="of the latents, such as 1 1.5 2")
    parser.add_argument("--device", help="cpu, cuda, cuda:1 (default: cuda where there is one)")
    args = parser.parse_args()
    run(lambda: judge_or_print(args, judged))


def judge_or_print(args: argparse.Namespace, judged: list[str]) -> None:
    for name in args.name:
        if name not in judged:
            raise TimError(f"--name {name}: is no tower that is judged: {did_you_mean(name, judged)}")
    if args.temperatures is not None and args.beside is not None:
        raise TimError("--beside: --temperatures compares a tower with itself: leave one of them out")
    data, device = args.data.expanduser(), choose_device(args.device)
    if args.temperatures is None:
        judge_towers(ROOT, data, args.name, args.beside, device, args.beside_as)
        return
    judge = Judge(device)
    for name in args.name:
        network = pretrained.load(name, device).network
        for what, (_, trained_on) in TOWERS[name].judged_on.items():
            lines = by_temperature(judge, network, trained_on(ROOT, data), args.temperatures)
            print(f"{name}, {what} of the training set:", "", *lines, "", sep="\n")


if __name__ == "__main__":
    main()
