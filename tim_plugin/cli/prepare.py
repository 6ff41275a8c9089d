"""``tim prepare``: GT and LQ files from photographs or digits, and statistics of how rare label maps' colours are."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from tim_plugin.cli.given import add_quiet, given_path, given_text
from tim_plugin.degradations.tasks import TASKS, Task, get_task
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.folder_lock import locked

if TYPE_CHECKING:
    from tim_plugin.data.prepare_photographs import Prepared
    from tim_plugin.data.rarity import Rarity

DESCRIPTION = """Prepare the data of a task: tim prepare sr16x -i PHOTOS -o DIR

Photographs become GT and LQ files; label maps get their rarity statistics; digits become GT and LQ files."""


class TaskParser(argparse.ArgumentParser):
    """Gets its arguments when its task is named: they are the degradation's, which needs torch.

    Attributes:
        fill: Adds them.
    """

    fill: Callable[[], None] | None = None

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.register("type", Path, given_path)
        add_quiet(self, default=argparse.SUPPRESS)  # which may stand before the task, too

    def parse_known_args(self, *args: Any, **options: Any) -> tuple[argparse.Namespace, list[str]]:
        """Parse, once the arguments are there."""
        fill, self.fill = self.fill, None
        if fill is not None:
            fill()
        return super().parse_known_args(*args, **options)


def add_prepare_arguments(parser: argparse.ArgumentParser) -> None:
    """Add a command for each task."""
    parser.description = DESCRIPTION
    commands = parser.add_subparsers(dest="task", required=True, metavar="TASK", parser_class=TaskParser)
    for name, task in TASKS.items():
        arguments = commands.add_parser(name, help=task.title, description=task.title)
        arguments.fill = partial(_add_task, arguments, task)


def _add_task(parser: argparse.ArgumentParser, task: Task) -> None:
    from tim_plugin.degradations.table import degradation_options
    from tim_plugin.utils.signatures import NEEDED

    add, execute = ROADS.get(task.degradation, (_add_photographs, _prepare_photographs))
    add(parser)
    for option in degradation_options(task.degradation):
        told = option.default not in (None, NEEDED)
        read, shown = _way_to_read(option.type)
        parser.add_argument(
            f"--{option.name.replace('_', '-')}",
            type=read,
            metavar=shown,
            help=option.sentence.replace("``", "").replace("%", "%%") + f" (default: {option.default})" * told,
        )
    parser.set_defaults(execute=execute)


def prepare(args: argparse.Namespace) -> None:
    """Prepare as the task's arguments say."""
    args.execute(args)


def _way_to_read(hint: Any) -> tuple[Callable[[str], Any], str | None]:
    """Return what reads an option of a type from a command line, and how ``--help`` shows its value.

    Choices are shown only: the degradation itself refuses others, and offers the nearest.
    """
    from tim_plugin.options.values import kinds_of

    kinds = kinds_of(hint)
    items = [get_args(kind)[0] for kind in kinds if get_origin(kind) is tuple]
    choices = [choice for kind in (*kinds, *items) if get_origin(kind) is Literal for choice in get_args(kind)]
    among = f"{{{','.join(dict.fromkeys(choices))}}}" if choices else None
    if int in items:
        return _numbers, "N or LOW,HIGH"
    if items:
        return _texts, f"{among or 'TEXT'},..."
    return (int if int in kinds else str), among


def _numbers(text: str) -> int | list[int]:
    try:
        ends = [int(part) for part in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: write a whole number, or LOW,HIGH") from error
    return ends[0] if len(ends) == 1 else ends


def _texts(text: str) -> str | list[str]:
    parts = [part.strip() for part in text.split(",")]
    return parts[0] if len(parts) == 1 else parts


def _options_of(args: argparse.Namespace) -> dict:
    given = {key: getattr(args, key, None) for key in get_task(args.task).options}
    return {key: value for key, value in given.items() if value is not None}


def _add_workers(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workers", type=int, default=None, help="processes (default: one for each core)")


def _add_photographs(parser: argparse.ArgumentParser) -> None:
    from tim_plugin.data.prepare_photographs import CROPS

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
    from tim_plugin.data.prepare_photographs import Settings, prepare_folder

    output = args.output.expanduser()
    settings = Settings(args.task, args.size, args.crop, _options_of(args))
    _tell(prepare_folder(args.input.expanduser(), output, settings, args.workers), output, args.task)


def _add_layouts(parser: argparse.ArgumentParser) -> None:
    from tim_plugin.data.rarity import BANDWIDTH

    parser.add_argument("-i", "--input", required=True, type=Path, help="folder of images")
    parser.add_argument("--labels", required=True, type=Path, help="folder of label maps of the same names")
    parser.add_argument("-o", "--output", required=True, type=Path, help="file for the statistics, such as rarity.json")
    parser.add_argument(
        "--bandwidth", type=float, default=BANDWIDTH, help=f"of the density of mean colours (default: {BANDWIDTH})"
    )
    _add_workers(parser)


def _prepare_layouts(args: argparse.Namespace) -> None:
    from tim_plugin.data.rarity_scan import compute_rarity

    labels = get_task(args.task).build(_options_of(args), f"task {args.task}")
    workers = (os.cpu_count() or 1) if args.workers is None else args.workers
    output = args.output.expanduser()
    if output.is_dir():
        raise TimError(f"-o {output}: is a folder; give a file, such as {output / 'rarity.json'}")
    progress, problems = output.with_name(f"{output.name}.partial"), list[str]()
    with locked(output, f"-o {output}", beside=True):
        folders = args.input.expanduser(), args.labels.expanduser()
        rarity = compute_rarity(*folders, labels, args.bandwidth, workers, progress, problems.append)
        rarity.save(output)
        if not problems:  # else the next run measures only what was mended
            progress.unlink(missing_ok=True)
    for problem in problems:
        print(f"skipped: {problem}", file=sys.stderr)
    _tell_rarity(rarity, output, args.output)
    if problems:
        raise TimError(
            f"{len(problems)} pairs could not be measured, see above, and are never drawn; the others are done"
        )


def _tell_rarity(rarity: Rarity, output: Path, named: Path) -> None:
    likely = rarity.probabilities * len(rarity.sources)
    drawn = likely[[bool(digest) for *_, digest in rarity.sources]]
    rarest = rarity.sources[int(likely.argmax())][0]
    print(
        f"{len(drawn)} images; resampled, each is drawn {drawn.min():.2f} to {drawn.max():.2f} times as "
        f"often as without; most often {rarest}.\nwritten: {output}\nTo train with it:\n    rarity:\n"
        f"      file: {named}\n"
        "      resample: true\n      weight: true"
    )


def _add_digits(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-i", "--input", required=True, type=given_text, help="idx file of images, or sklearn:digits/train"
    )
    parser.add_argument("-o", "--output", required=True, type=Path, help="gt/ and lq/ are written here")
    _add_workers(parser)


def _prepare_digit_files(args: argparse.Namespace) -> None:
    from tim_plugin.data.prepare_digits import prepare_digits

    options = {"basis": args.input, **_options_of(args)}
    made, kept = prepare_digits(args.input, args.output.expanduser(), workers=args.workers, **options)
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
