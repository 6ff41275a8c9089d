"""A moving picture (animated PNG) that walks through the latents of one input, coarse and fine.

python tools/make_moving_picture.py --model flowers-sr8x --photograph FLOWER.jpg -o docs/flowers-sr8x.png
"""

import argparse
from pathlib import Path

from tim_plugin.cli.start import starting  # first, since tim_plugin also fixes BasicSR's imports

with starting():
    from tim_plugin.cli.run import run
    from tim_plugin.inference.towers import open_network
    from tim_plugin.utils.errors import TimError
    from tim_plugin.utils.images import read_image
    from tim_plugin.utils.trees import map_tensors
    from towers.moving import write_moving


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a tower of the package, or a checkpoint's path")
    parser.add_argument("--photograph", type=Path, required=True, help="the input is made of its middle")
    parser.add_argument("--side", type=int, default=128, help="of the middle, in pixels (128)")
    parser.add_argument("--frames", type=int, default=30, help="of the picture (30)")
    parser.add_argument("--frame-ms", type=int, default=100, help="how long each is shown, in milliseconds (100)")
    parser.add_argument("--coarse", type=int, default=1, help="levels that the second walk keeps (1)")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the picture, a .png")
    args = parser.parse_args()
    run(lambda: make(args))


def make(args: argparse.Namespace) -> None:
    tower = open_network(args.model).network
    if not 0 < args.coarse < tower.spec.num_levels:
        raise TimError(
            f"--coarse {args.coarse}: must be from 1 to {tower.spec.num_levels - 1}, the tower's levels less 1"
        )
    if args.frames < 2 or args.frame_ms < 1:
        raise TimError("--frames must be 2 or more, --frame-ms 1 or more")
    rgb = read_image(args.photograph).rgb
    height, width = rgb.shape[-2:]
    if not tower.spec.gt_multiple <= args.side <= min(height, width) or args.side % tower.spec.gt_multiple:
        raise TimError(
            f"--side {args.side}: must be a multiple of {tower.spec.gt_multiple} and no more than {args.photograph} "
            f"has, which is {width}x{height} pixels large"
        )
    top, left = (height - args.side) // 2, (width - args.side) // 2
    middle = rgb[:, top : top + args.side, left : left + args.side]
    observed = map_tensors(lambda tensor: tensor[None], tower.degradation.degrade(middle))
    write_moving(args.output, tower, observed, args.frames, args.coarse, args.frame_ms)
    print(f"{args.output}: {args.output.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
