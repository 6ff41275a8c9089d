"""Many answers for an image or a folder, from a tower of the package or a checkpoint alone.

python tools/sample.py -i IMAGE_OR_FOLDER --model sr16x-small -n 8
python tools/sample.py -i IMAGE_OR_FOLDER -o DIR -m experiments/NAME/models/net_g_latest.pth -n 8 --seed 0
"""

import argparse
import sys
from pathlib import Path

import tim_plugin  # noqa: F401  mends and registers; must come before any import of basicsr
from tim_plugin.inference.arguments import parse_level_seeds
from tim_plugin.inference.files import sample_files
from tim_plugin.inference.towers import described
from tim_plugin.models.pipeline import run


def joined(arguments: list[str]) -> list[str]:
    """Join ``--level-seeds -,-,3`` by ``=``: argparse takes what begins with a dash for an option."""
    found: list[str] = []
    for argument in arguments:
        if argument.startswith("-,") and found and found[-1].startswith("--"):
            found[-1] += f"={argument}"
        else:
            found.append(argument)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-i", "--input", type=Path, help="image, folder of images, or film")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("results/samples"),
        help="folder for samples, sheets and samples.json, not that of the inputs (default: results/samples)",
    )
    parser.add_argument("-m", "--model", help="a tower of the package by name, or a checkpoint (net_g_N.pth)")
    parser.add_argument("--list-models", action="store_true", help="print the towers of the package")
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
    parser.add_argument("--suffix", default="", help="put behind the image's name (no / or \\)")
    parser.add_argument("--device", default=None, help="cpu, cuda, cuda:1 (default: cuda where there is one)")
    parser.add_argument(
        "--batch",
        type=int,
        default=None,
        help="samples computed at once, fewer where --memory-gib does not hold as many (default: what it holds, up to "
        "16)",
    )
    parser.add_argument(
        "--memory-gib", type=float, default=4.0, help="what the process may take, on CUDA the device (default: 4)"
    )
    parser.add_argument(
        "--tile",
        default="auto",
        metavar="auto|N|0",
        help="side of a tile in pixels; in fp32 the answer is that of the whole image; auto tiles what would not fit "
        "into --memory-gib, 0 never tiles (default: auto)",
    )
    parser.add_argument(
        "--precision", default="fp32", metavar="fp32|bf16", help="bf16: the network's convolutions only (default: fp32)"
    )
    parser.add_argument(
        "--max-megapixels",
        type=float,
        default=100.0,
        help="refuse inputs whose output is larger than this (default: 100)",
    )
    parser.add_argument(
        "--skip-existing",
        action="store_true",
        help="leave out files whose samples exist, made from the same content by the same model and arguments",
    )
    parser.add_argument("--no-contact-sheet", action="store_true")
    args = parser.parse_args(joined(sys.argv[1:]))
    if args.list_models:
        print(described())
        return
    for name in ("input", "model"):
        if getattr(args, name) is None:
            parser.error(f"the following arguments are required: -{name[0]}/--{name}")
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
        memory_gib=args.memory_gib,
        tile=args.tile,
        precision=args.precision,
        skip_existing=args.skip_existing,
    )


if __name__ == "__main__":
    run(main)
