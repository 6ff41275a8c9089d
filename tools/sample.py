"""Many answers for an image or a folder, from a checkpoint alone.

python tools/sample.py -i IMAGE_OR_FOLDER -o DIR -m experiments/NAME/models/net_g_latest.pth -n 8 --seed 0
"""

import argparse
from pathlib import Path

import tim_plugin  # noqa: F401  mends and registers; must come before any import of basicsr
from tim_plugin.inference import parse_level_seeds, sample_files
from tim_plugin.train_pipeline import run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-i", "--input", required=True, type=Path, help="image or folder")
    parser.add_argument("-o", "--output", required=True, type=Path, help="folder for samples, sheets and samples.json")
    parser.add_argument("-m", "--model", required=True, type=Path, help="checkpoint (net_g_N.pth)")
    parser.add_argument("-n", "--num-samples", type=int, default=8, help="answers for each image (default: 8)")
    parser.add_argument(
        "--seed", type=int, default=0, help="sample j of an image depends on seed, file name and j alone"
    )
    parser.add_argument(
        "--level-seeds",
        metavar="J,J,..",
        default=None,
        help="coarse to fine: take a level's codes from sample J for all samples; '-' or a missing entry leaves a "
        "level free, so 3,3 keeps the two coarsest levels of sample 3 and varies the finer ones; with every level "
        "given there is one answer",
    )
    parser.add_argument("--suffix", default="", help="put behind the image's name")
    parser.add_argument("--device", default=None, help="cpu, cuda, cuda:1 (default: cuda where there is one)")
    parser.add_argument("--batch", type=int, default=4, help="samples computed at once (default: 4)")
    parser.add_argument(
        "--max-megapixels",
        type=float,
        default=32.0,
        help="refuse inputs whose output is larger than this (default: 32)",
    )
    parser.add_argument("--no-contact-sheet", action="store_true")
    args = parser.parse_args()
    sample_files(
        args.input,
        args.output,
        args.model,
        num_samples=args.num_samples,
        seed=args.seed,
        level_seeds=parse_level_seeds(args.level_seeds),
        suffix=args.suffix,
        device=args.device,
        max_samples_per_batch=args.batch,
        max_megapixels=args.max_megapixels,
        with_contact_sheet=not args.no_contact_sheet,
    )


if __name__ == "__main__":
    run(main)
