"""``tim convert``: a checkpoint, or a file of the method's authors, as a safetensors file that holds its arguments."""

from __future__ import annotations

import argparse
from pathlib import Path

DESCRIPTION = """Write a network as one safetensors file, which holds its weights and what rebuilds it.

tim convert 100000_G.pth -o sr16x.safetensors
tim convert 100000_G.pth -o jpeg.safetensors --task decompression"""


def add_convert_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is read and what is written."""
    parser.description = DESCRIPTION
    parser.add_argument("model", type=Path, help="a checkpoint (net_g_N.pth), or a file of the method's authors")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the file to write, *.safetensors")
    parser.add_argument(
        "--task",
        help="what a file of the method's authors is for, where its keys do not say it: super_resolution, "
        "colorization, decompression, generic, layouts",
    )


def convert(args: argparse.Namespace) -> None:
    """Write the file, see :func:`tim_plugin.inference.towers.convert`, and say what the network is."""
    from tim_plugin.inference.towers import convert

    options = convert(args.model, args.output, args.task)
    told = ", ".join(f"{key} {value}" for key, value in options.items() if not isinstance(value, (dict, list)))
    print(f"{args.output}: {told}")
