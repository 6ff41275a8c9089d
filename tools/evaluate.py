"""How good, how diverse, how consistent: measures of many images' samples.

python tools/evaluate.py --pred DIR --gt DIR [--lq DIR --task sr16x] --metrics lpips,lpips_diversity,fwv -o out.json
python tools/evaluate.py -opt options/test_tim_sr16x.yml -m CHECKPOINT --metrics lpips,agreement -o out.json
"""

import argparse
from pathlib import Path

import tim_plugin  # noqa: F401  mends and registers; must come before any import of basicsr
from tim_plugin.metrics.case_measures import METRICS
from tim_plugin.metrics.cases import PATTERN
from tim_plugin.metrics.evaluation import run_evaluation
from tim_plugin.models.pipeline import run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    folders = parser.add_argument_group("samples of any method, as files")
    folders.add_argument("--pred", type=Path, help="folder of samples")
    folders.add_argument("--gt", type=Path, help="folder of ground truths")
    folders.add_argument(
        "--pattern",
        default=PATTERN,
        help=f"how samples are named, without suffix ({PATTERN}); without {{index}} one of each; "
        "{name}/{index}: a folder of each",
    )
    folders.add_argument("--lq", type=Path, help="folder of inputs (default: the ground truths, degraded)")
    folders.add_argument("--task", help="what made the inputs, such as sr16x: for agreement with them")
    folders.add_argument("--basis", help="with --task mnist_pca: the training digits")
    network = parser.add_argument_group("or samples of a network, computed on the way and not written")
    network.add_argument("-opt", type=Path, help="an option file for tests")
    network.add_argument("-m", "--model", type=Path, help="checkpoint (default: the option file's)")
    network.add_argument("--force_yml", nargs="+", default=[], metavar="SECTION:KEY=VALUE", help="override its options")
    network.add_argument("-n", "--num-samples", type=int, default=10, help="samples of each input (default: 10)")
    network.add_argument("--seed", type=int, default=0, help="of the samples (default: 0)")
    network.add_argument("--batch", type=int, default=4, help="samples computed at once (default: 4)")
    parser.add_argument(
        "--metrics",
        required=True,
        help=f"comma-separated: {', '.join(METRICS)}, or a measure of agreement by name, such as lr_psnr",
    )
    parser.add_argument(
        "--feature-extractor",
        default="inception",
        help="of fid, kid and prc: inception, squeezenet, or the path of a state dict of one (default: inception)",
    )
    parser.add_argument("--lpips-backbone", default="vgg16", help="vgg16 (default), alexnet, squeezenet1_1, tim_small")
    parser.add_argument(
        "--lpips-weights", default="imagenet", help="imagenet (default), bundled (tim_small's), random or a path"
    )
    parser.add_argument("--lpips-calibration", default="lpips", help="lpips (default), bundled (tim_small's) or none")
    parser.add_argument("--fwv-squared", action="store_true", help="put the squared distance into fwv's exponent")
    parser.add_argument("--fwv-reduction", default="mean", choices=["mean", "sum"], help="over samples")
    parser.add_argument("--samples-in-sets", type=int, default=None, help="of each input, in fid, kid, prc (all)")
    parser.add_argument("--cache", type=Path, default=None, help="folder that keeps the ground truths' features")
    parser.add_argument("--device", default=None, help="cpu, cuda, cuda:1 (default: cuda where there is one)")
    parser.add_argument("-o", "--output", type=Path, default=None, help="JSON file for the figures")
    run_evaluation(parser.parse_args())


if __name__ == "__main__":
    run(main)
