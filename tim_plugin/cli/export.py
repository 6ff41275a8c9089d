"""``tim export``: a tower as an ONNX graph, for OpenVINO, or as safetensors."""

from __future__ import annotations

import argparse
from pathlib import Path

DESCRIPTION = """Write a tower for programs that have no torch: images and latents of any size in, samples out.

tim export sr16x-small -o tower.onnx --with-projection
tim export net_g_latest.pth -o tower.xml               # for OpenVINO, with tower.bin
tim export net_g_latest.pth -o tower.safetensors       # the weights, and what rebuilds the network"""


def add_export_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is read and what is written."""
    parser.description = DESCRIPTION
    parser.add_argument("model", help="a tower of the package by name, or a checkpoint")
    parser.add_argument("-o", "--output", type=Path, required=True, help="*.onnx, *.xml (OpenVINO) or *.safetensors")
    parser.add_argument(
        "--to", metavar="onnx|openvino|safetensors", help="the format (default: what the suffix of -o says)"
    )
    parser.add_argument(
        "--with-projection",
        action="store_true",
        help="put the projection onto images consistent with the input into the graph, as 'tim sample' does; not of "
        "JPEGs, whose projection reads the file",
    )
    parser.add_argument(
        "--task", help="what a file of the method's authors is for, where its keys do not say it, see tim sample --help"
    )


def export(args: argparse.Namespace) -> None:
    """Write the file, see :func:`tim_plugin.inference.export.export`, and say what goes in and out."""
    from tim_plugin.inference.export import export

    print(export(args.model, args.output, args.to, args.with_projection, args.task))
