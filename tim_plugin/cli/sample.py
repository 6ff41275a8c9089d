"""``tim sample``: many samples for images, folders or videos, from a tower of the package or a checkpoint alone."""

from __future__ import annotations

import argparse
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tim_plugin.cli.told import STAYS, machine_sentence
from tim_plugin.inference.arguments import SampleOptions, parse_level_seeds, parse_temperature
from tim_plugin.utils.errors import MachineError, TimError
from tim_plugin.utils.weight_headers import described

DESCRIPTION = """Many samples for images, folders or videos, from a tower of the package or a checkpoint alone.

tim sample -i thumb.png --model sr16x-small -n 8
tim sample -i *.png -o DIR -m experiments/NAME/models/net_g_latest.pth -n 8 --seed 0
tim sample --from choice.json"""

GOES_ON = "what was written stays, and the same command with --skip-existing goes on"
CHOSEN = (  # options that --from leaves no room for
    *("num_samples", "seed", "level_seeds", "temperature", "precision", "tile", "suffix", "backend"),
    *("batch", "memory_gib", "frames", "skip_existing"),
)


def add_sample_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is sampled and how."""
    parser.description = DESCRIPTION
    parser.set_defaults(parser=parser)
    parser.add_argument(
        "-i", "--input", type=Path, nargs="+", action="extend", help="images, folders of them, or videos"
    )
    _add_choice(parser)
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("results/samples"),
        help="folder for samples, sheets and samples.json, not that of the inputs (default: results/samples)",
    )
    parser.add_argument(
        "-m",
        "--model",
        help="a tower of the package by name, or a checkpoint (net_g_N.pth, .safetensors, a file of the method's "
        "authors)",
    )
    parser.add_argument(
        "--task",
        help="what a file of the method's authors is for, where its keys do not say it: super_resolution, "
        "colorization, decompression, generic, layouts",
    )
    parser.add_argument("--list-models", action="store_true", help="print the towers of the package")
    parser.add_argument(
        "-n",
        "--num-samples",
        type=int,
        default=SampleOptions.num_samples,
        help="samples of each image (default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=SampleOptions.seed,
        help="sample j of an image depends on seed, file name and j alone (default: %(default)s)",
    )
    parser.add_argument(
        "--level-seeds",
        metavar="J,J,..",
        help="coarse to fine: take a level's latents from sample J for all samples; '-' or a missing entry leaves a "
        "level free, so 3,3 keeps the two coarsest levels of sample 3 and varies the finer ones; with every level "
        "given there is one sample",
    )
    parser.add_argument(
        "--temperature",
        default=str(SampleOptions.temperature),
        metavar="T|T,T,..",
        help="what the latents are multiplied by, in all levels or coarse to fine: above 1 samples differ more, "
        "below 1 less, than as the tower was made (default: %(default)s)",
    )
    parser.add_argument("--suffix", default=SampleOptions.suffix, help="put behind the image's name (no / or \\)")
    parser.add_argument("--skip-existing", action="store_true", help="leave out files that were sampled the same way")
    parser.add_argument(
        "--frames", action="store_true", help="a video's samples as PNGs, frame by frame, not as one video each"
    )
    parser.add_argument("--no-contact-sheet", action="store_true", help="write the samples only")
    _add_resources(parser)


def _add_choice(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--from",
        dest="choice",
        type=Path,
        metavar="choice.json",
        help="make the sample again that was chosen in tim explore; -i and -m only where its input or tower has moved",
    )


def _add_resources(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", help="cpu, cuda, cuda:1 (default: cuda where there is one)")
    parser.add_argument(
        "--batch", type=int, help="samples computed at once (default: what --memory-gib holds, up to 16)"
    )
    parser.add_argument(
        "--memory-gib",
        type=float,
        default=SampleOptions.memory_gib,
        help="what the process may take, on CUDA the device (default: %(default)s)",
    )
    parser.add_argument(
        "--tile",
        default=SampleOptions.tile,
        metavar="auto|N|0",
        help="side of a tile in pixels; in fp32 the sample is that of the whole image; auto tiles what would not fit "
        "into --memory-gib, 0 never tiles (default: %(default)s)",
    )
    parser.add_argument(
        "--precision",
        default=SampleOptions.precision,
        metavar="fp32|bf16",
        help="bf16: the network's convolutions only (default: %(default)s)",
    )
    parser.add_argument(
        "--backend",
        default=SampleOptions.backend,
        metavar="auto|torch|onnxruntime|openvino",
        help="what computes the convolutions; auto: the fastest that is installed and can (default: %(default)s)",
    )
    parser.add_argument(
        "--max-megapixels",
        type=float,
        default=SampleOptions.max_megapixels,
        help="refuse inputs whose output is larger than this (default: %(default)s)",
    )


def sample(args: argparse.Namespace) -> None:
    """Sample the inputs, see :func:`tim_plugin.inference.files.sample_files`; or list the towers."""
    if args.list_models:
        print(described())
        return
    if args.choice is not None:
        _sample_choice(args)
        return
    missing = [f"-{name[0]}/--{name}" for name in ("input", "model") if getattr(args, name) is None]
    if missing:
        args.parser.error(
            f"the following arguments are required: {', '.join(missing)} (--list-models prints the towers for -m)"
        )

    options = SampleOptions(
        num_samples=args.num_samples,
        seed=args.seed,
        level_seeds=parse_level_seeds(args.level_seeds),
        temperature=parse_temperature(args.temperature),
        suffix=args.suffix,
        device=args.device,
        max_samples_per_batch=args.batch,
        max_megapixels=args.max_megapixels,
        with_contact_sheet=not args.no_contact_sheet,
        memory_gib=args.memory_gib,
        tile=args.tile,
        precision=args.precision,
        backend=args.backend,
        frames=args.frames,
        skip_existing=args.skip_existing,
        task=args.task,
    )

    from tim_plugin.inference.files import sample_files

    with _saying_how_to_go_on(args.skip_existing):
        sample_files(args.input, args.output, args.model, options)


@contextmanager
def _saying_how_to_go_on(skip_existing: bool) -> Iterator[None]:
    """Add --skip-existing to what is said of a command that was interrupted, or that the machine stopped."""
    from tim_plugin.utils.processes import Interrupted

    if skip_existing:
        yield
        return
    try:
        yield
    except (OSError, MemoryError, RuntimeError) as error:
        said = machine_sentence(error)
        if said is None or not said.endswith(STAYS):
            raise
        raise MachineError(said.removesuffix(STAYS) + GOES_ON) from error
    except KeyboardInterrupt as stop:
        number = stop.signal if isinstance(stop, Interrupted) else signal.SIGINT
        raise Interrupted(number, f"on the way: {GOES_ON}") from None


def _sample_choice(args: argparse.Namespace) -> None:
    """Make the answer of a ``choice.json``; options that it has values of its own for are refused."""
    for option in CHOSEN:
        if getattr(args, option) != args.parser.get_default(option):
            name = f"--{option.replace('_', '-')}"
            raise TimError(f"{name}: choice.json says how its sample is made: leave {name} out, or --from")
    if args.input is not None and len(args.input) > 1:
        raise TimError(f"-i names {len(args.input)} inputs: choice.json is for one image")

    from tim_plugin.explorer.chosen import sample_choice

    image = None if args.input is None else args.input[0]
    about = (args.model, args.device, args.task, not args.no_contact_sheet, args.max_megapixels)
    print(sample_choice(args.choice.expanduser(), args.output.expanduser(), image, *about))
