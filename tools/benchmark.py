"""Ratios of two ways of doing the same thing, measured in one run: python tools/benchmark.py selection"""

import argparse
import json
from pathlib import Path

from tim_plugin.cli.start import starting  # first, since tim_plugin also fixes BasicSR's imports

with starting():
    from speed.ahead import benchmark_ahead
    from speed.backend_speed import benchmark_backends
    from speed.distance_speed import benchmark_distance
    from speed.earlier_commit import benchmark_earlier
    from speed.gpu import benchmark_gpu
    from speed.others import benchmark_others
    from speed.sampling_speed import benchmark_inference
    from speed.scaling import benchmark_scaling
    from speed.search_speed import ROWS, benchmark_selection
    from speed.settings import DEFAULT, SETTINGS
    from speed.sizes import benchmark_sizes
    from speed.step_memory import benchmark_memory
    from speed.step_speed import benchmark_training
    from speed.timing import as_json, described, require_repeats
    from tim_plugin.cli.run import run
    from tim_plugin.inference.devices import choose_device
    from tim_plugin.utils.errors import TimError
    from tim_plugin.utils.writing import make_writable, write_json

ROOT = Path(__file__).resolve().parents[1]
BENCHMARKS = {
    "inference": benchmark_inference,
    "selection": benchmark_selection,
    "training": benchmark_training,
    "memory": benchmark_memory,
    "scaling": benchmark_scaling,
    "ahead": benchmark_ahead,
}
OF_THE_PACKAGE = {  # its towers and distances, on a processor
    "backends": benchmark_backends,
    "distance": benchmark_distance,
    "earlier": benchmark_earlier,
    "others": benchmark_others,
    "sizes": benchmark_sizes,
}
GPU = "gpu"
WHAT = (
    "selection: the search for the nearest candidate; inference: many samples, tiles; "
    "training: ways to take an optimizer step; memory: of a step, computed; scaling: two processes against one; "
    "ahead: training with search_ahead; backends: sampling by each installed engine, on a processor; "
    "distance: with its backbone in bf16 against fp32, on a processor; "
    "earlier: sampling, training and start against an earlier commit; others: beside spandrel's RRDBNet and the public "
    "code's search; sizes: cost of a pixel from 8x8 to 512x512; gpu: what a GPU gives, as JSON"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=[*BENCHMARKS, *OF_THE_PACKAGE, GPU], help=WHAT)
    parser.add_argument("--network", choices=list(SETTINGS), nargs="+", default=DEFAULT)
    parser.add_argument("--repeats", type=int, default=5, help="pairs that are timed (default: 5)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--json", type=Path, default=None, help="write the figures to this file too")
    parser.add_argument(
        "--options",
        choices=ROWS,
        nargs="*",
        default=None,
        help="selection: options of the search (all; combined and combined_compiled on a GPU only)",
    )
    parser.add_argument("--candidates", type=int, default=None, help="selection: a level (default: the network's own)")
    args = parser.parse_args()
    chosen = {name: value for name in ("options", "candidates") if (value := getattr(args, name)) is not None}
    if chosen and args.what != "selection":
        parser.error(f"--{next(iter(chosen))} is selection's: leave it out for {args.what}")
    require_repeats(args.repeats)
    device = str(choose_device("cuda" if args.what == GPU else args.device))
    if device not in ("cpu", "cuda"):
        raise TimError(f"--device {device}: use cpu or cuda (and CUDA_VISIBLE_DEVICES for which of several)")
    if args.json is not None:
        require_room(args.json)
    if args.what == GPU:
        results = [benchmark_gpu(device)]
    elif args.what in OF_THE_PACKAGE:
        results = OF_THE_PACKAGE[args.what](args.repeats)
    else:
        results = [one for name in args.network for one in BENCHMARKS[args.what](name, args.repeats, device, **chosen)]
    if args.what == GPU:
        print(json.dumps(as_json(results, ROOT, device), indent=2))
    else:
        print("\n".join(described(one) for one in results))
    if args.json is not None:
        write_json(args.json, as_json(results, ROOT, device))
        print(f"written: {args.json}")


def require_room(path: Path) -> None:
    """See that the file can be written, before measuring."""
    try:
        make_writable(path.parent)
    except OSError as error:
        raise TimError(
            f"--json {path}: cannot be written ({error.strerror}): name a file in a folder that can"
        ) from error
    if path.is_dir():
        raise TimError(f"--json {path}: is a folder: name a file, such as {path / 'benchmark.json'}")


if __name__ == "__main__":
    run(main)
