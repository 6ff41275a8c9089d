"""Make GT and LQ files from photographs: python tools/prepare_data.py sr16x -i PHOTOS -o DIR"""

import argparse
import sys
from pathlib import Path

import tim_plugin  # noqa: F401  mends and registers; must come before any import of basicsr
from tim_plugin.data.prepare import CROPS, Prepared, Settings, prepare_folder
from tim_plugin.tasks import TASKS
from tim_plugin.train_pipeline import run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", choices=sorted(TASKS), help="what the pairs are for")
    parser.add_argument("-i", "--input", required=True, type=Path, help="folder of photographs (with subfolders)")
    parser.add_argument("-o", "--output", required=True, type=Path, help="gt/, lq/ and meta_info.txt are written here")
    parser.add_argument("--size", type=int, default=256, help="short side of the GT in pixels (default: 256)")
    parser.add_argument(
        "--crop",
        choices=CROPS,
        default="center",
        help="center: a square from the middle; whole: keep the long side (default: center)",
    )
    parser.add_argument("--workers", type=int, default=None, help="processes (default: one for each core)")
    args = parser.parse_args()
    output = args.output.expanduser()
    settings = Settings(args.task, args.size, args.crop)
    tell(prepare_folder(args.input.expanduser(), output, settings, args.workers), output)


def tell(prepared: Prepared, output: Path) -> None:
    for problem in prepared.skipped:
        print(f"skipped: {problem}", file=sys.stderr)
    if prepared.enlarged:
        print(f"note: {prepared.enlarged} photographs are smaller than the GT and were enlarged", file=sys.stderr)
    if prepared.left_over:
        print(
            f"note: {len(prepared.left_over)} files in {output / 'gt'} have no photograph any more and are not in "
            f"meta_info.txt, for example {prepared.left_over[0]}",
            file=sys.stderr,
        )
    print(
        f"{prepared.made} pairs made, {prepared.kept} kept, {len(prepared.skipped)} photographs skipped.\n"
        "To train on them with type: PairedImageDataset:\n"
        f"    dataroot_gt: {output / 'gt'}\n    dataroot_lq: {output / 'lq'}\n"
        f"    meta_info_file: {output / 'meta_info.txt'}\n    io_backend: {{type: disk}}",
        flush=True,
    )


if __name__ == "__main__":
    run(main)
