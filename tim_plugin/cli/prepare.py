"""``tim prepare``: GT and LQ files from photographs or digits, and statistics of how rare label maps' colours are."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from tim_plugin.data.prepare_digits import prepare_digits
from tim_plugin.data.prepare_photographs import CROPS, Prepared, Settings, prepare_folder
from tim_plugin.data.rarity import BANDWIDTH
from tim_plugin.data.rarity_scan import compute_rarity
from tim_plugin.degradations.tasks import TASKS, get_task
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.folder_lock import locked

DESCRIPTION = """Prepare the data of a task: tim prepare sr16x -i PHOTOS -o DIR

Photographs become GT and LQ files; label maps get their rarity statistics; digits become GT and LQ files."""


def add_prepare_arguments(parser: argparse.ArgumentParser) -> None:
    """Add a command for each task."""
    parser.description = DESCRIPTION
    commands = parser.add_subparsers(dest="task", required=True, metavar="TASK")
    for name, task in TASKS.items():
        arguments = commands.add_parser(name, help=task.title, description=task.title)
        add, execute = ROADS.get(task.degradation, (_add_photographs, _prepare_photographs))
        add(arguments)
        for option in sorted(task.options & set(OPTIONS)):
            arguments.add_argument(f"--{option.replace('_', '-')}", default=None, **OPTIONS[option])
        arguments.set_defaults(execute=execute)


def prepare(args: argparse.Namespace) -> None:
    """Prepare as the task's arguments say."""
    args.execute(args)


def _quality(text: str) -> int | list[int]:
    ends = [int(part) for part in text.split(",")]
    return ends[0] if len(ends) == 1 else ends


OPTIONS = {
    "quality": {"type": _quality, "metavar": "Q or LOW,HIGH", "help": "JPEG quality (default: 1, as published)"},
    "subsampling": {"help": "of chroma: 4:4:4, 4:2:2, 4:2:0 (default: 4:2:0)"},
    "palette": {"help": "camvid, cityscapes, gta (default) or indices"},
    "void": {"help": "channel (default) or mask"},
    "num_classes": {"type": int, "help": "with --palette indices"},
    "void_index": {"type": int, "help": "with --palette indices: which raw index is void, if there is void"},
    "basis": {"help": "whose principal components (default: the input's; for test digits give the training digits)"},
    "num_components": {"type": int, "help": "how many (default: 10)"},
}


def _options_of(args: argparse.Namespace) -> dict:
    given = {key: getattr(args, key, None) for key in get_task(args.task).options}
    return {key: value for key, value in given.items() if value is not None}


def _add_workers(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workers", type=int, default=None, help="processes (default: one for each core)")


def _add_photographs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-i", "--input", required=True, type=Path, help="folder of photographs (with subfolders)")
    parser.add_argument("-o", "--output", required=True, type=Path, help="gt/, lq/ and meta_info.txt are written here")
    parser.add_argument("--size", type=int, default=256, help="short side of the GT in pixels (default: 256)")
    parser.add_argument(
        "--crop",
        choices=CROPS,
        default="center",
        help="center: a square from the middle; whole: keep the long side (default: center)",
    )
    _add_workers(parser)


def _prepare_photographs(args: argparse.Namespace) -> None:
    output = args.output.expanduser()
    settings = Settings(args.task, args.size, args.crop, _options_of(args))
    _tell(prepare_folder(args.input.expanduser(), output, settings, args.workers), output, args.task)


def _add_layouts(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-i", "--input", required=True, type=Path, help="folder of images")
    parser.add_argument("--labels", required=True, type=Path, help="folder of label maps of the same names")
    parser.add_argument("-o", "--output", required=True, type=Path, help="file for the statistics, such as rarity.json")
    parser.add_argument(
        "--bandwidth", type=float, default=BANDWIDTH, help=f"of the density of mean colours (default: {BANDWIDTH})"
    )
    _add_workers(parser)


def _prepare_layouts(args: argparse.Namespace) -> None:
    labels = get_task(args.task).build(_options_of(args), f"task {args.task}")
    workers = (os.cpu_count() or 1) if args.workers is None else args.workers
    output = args.output.expanduser()
    if output.is_dir():
        raise TimError(f"-o {output}: is a folder; give a file, such as {output / 'rarity.json'}")
    progress = output.with_name(f"{output.name}.partial")
    with locked(output, f"-o {output}", beside=True):
        rarity = compute_rarity(
            args.input.expanduser(), args.labels.expanduser(), labels, args.bandwidth, workers, progress
        )
        rarity.save(output)
        progress.unlink(missing_ok=True)
    likely = rarity.probabilities * len(rarity.sources)
    rarest = rarity.sources[int(likely.argmax())][0]
    print(
        f"{len(rarity.sources)} images; resampled, each is drawn {likely.min():.2f} to {likely.max():.2f} times as "
        f"often as without; most often {rarest}.\nwritten: {output}\nTo train with it:\n    rarity:\n"
        f"      file: {args.output}\n"
        "      resample: true\n      weight: true"
    )


def _add_digits(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-i", "--input", required=True, help="idx file of images, or sklearn:digits/train")
    parser.add_argument("-o", "--output", required=True, type=Path, help="gt/ and lq/ are written here")
    _add_workers(parser)


def _prepare_digit_files(args: argparse.Namespace) -> None:
    num_components = 10 if args.num_components is None else args.num_components
    made, kept = prepare_digits(
        args.input, args.output.expanduser(), args.basis or args.input, num_components, args.workers
    )
    print(f"{made} pairs made, {kept} kept.\nwritten: {args.output / 'gt'}, {args.output / 'lq'}")


ROADS = {"labels": (_add_layouts, _prepare_layouts), "pca": (_add_digits, _prepare_digit_files)}


def _tell(prepared: Prepared, output: Path, task: str) -> None:
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
    paired = get_task(task).degradation == "bicubic"  # BasicSR's own dataset reads RGB pairs
    kind = "PairedImageDataset" if paired else f"DegradedImageDataset and task: {task}"
    print(
        f"{prepared.made} pairs made, {prepared.kept} kept, {len(prepared.skipped)} photographs skipped.\n"
        f"written: {output / 'gt'}, {output / 'lq'}, {output / 'meta_info.txt'}\n"
        f"To train on them with type: {kind}:\n"
        f"    dataroot_gt: {output / 'gt'}\n    dataroot_lq: {output / 'lq'}\n"
        f"    meta_info_file: {output / 'meta_info.txt'}\n    io_backend: {{type: disk}}",
        flush=True,
    )
    if prepared.skipped:
        raise TimError(f"{len(prepared.skipped)} photographs could not be read, see above; the others are done")
