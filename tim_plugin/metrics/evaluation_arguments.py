"""What is checked of ``tim evaluate``'s arguments whether or not they are used, and which go with which samples."""

from __future__ import annotations

import argparse
from collections.abc import Collection
from pathlib import Path

from tim_plugin.losses.backbone_files import require_file
from tim_plugin.losses.backbones import BACKBONES, TIM_SMALL
from tim_plugin.losses.distance import CALIBRATIONS
from tim_plugin.metrics.feature_extractors import KNOWN, require_extractor
from tim_plugin.options.plain_checks import require_choice
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.metric_names import OF_DISTANCE, OF_NETWORK, OF_SETS, PATTERN, SPACE

READERS = {  # arguments, and the metrics that read them
    **dict.fromkeys(("samples_in_sets", "cache", "feature_extractor"), OF_SETS),
    **dict.fromkeys(("lpips_backbone", "lpips_weights", "lpips_calibration"), (*OF_DISTANCE, SPACE)),
    **dict.fromkeys(("fwv_squared", "fwv_reduction"), ("fwv",)),
}


def require_known(args: argparse.Namespace) -> None:
    """Raise TimError for a network, weights or a calibration that there are not, also where no metric needs them."""
    if args.lpips_backbone is not None:
        require_choice("backbone", args.lpips_backbone, (*BACKBONES, TIM_SMALL))
    if args.lpips_calibration is not None:
        require_choice("calibration", args.lpips_calibration, CALIBRATIONS)
    if args.lpips_weights not in (None, "imagenet", "bundled", "random"):
        own = "bundled" if args.lpips_backbone == TIM_SMALL else "imagenet"
        require_file(Path(args.lpips_weights).expanduser(), (own, "random"))
    if args.feature_extractor is not None and args.feature_extractor not in KNOWN:
        require_extractor(args.feature_extractor)


def refuse_unread(args: argparse.Namespace, metrics: Collection[str]) -> None:
    """Raise TimError for what none of the metrics reads."""
    for name, readers in READERS.items():
        if getattr(args, name) not in (None, False) and not any(one in metrics for one in readers):
            raise TimError(f"--{name.replace('_', '-')}: goes with --metrics {', '.join(readers)}")


def refuse_of_network(args: argparse.Namespace) -> None:
    """Raise TimError for what says how a network samples, where the samples are there."""
    given = {"-m": args.model, "--force_yml": args.force_yml or None}
    given |= {option.flag: getattr(args, name) for name, option in OF_NETWORK.items()}
    for flag, value in given.items():
        if value is not None:
            raise TimError(f"{flag}: goes with -opt FILE; --pred names samples")


def of_network(args: argparse.Namespace) -> argparse.Namespace:
    """Return the arguments with what says how a network samples: what was given, or its default.

    Raises:
        TimError: A value is out of its range, or is of samples that are there.
    """
    given = {"--pred": args.pred, "--gt": args.gt, "--lq": args.lq, "--task": args.task, "--basis": args.basis}
    given["--pattern"] = None if args.pattern == PATTERN else args.pattern
    for flag, value in given.items():
        if value is not None:
            raise TimError(f"{flag}: goes with samples that are there; -opt names the data")
    filled = argparse.Namespace(**vars(args))
    for name, option in OF_NETWORK.items():
        value = option.default if getattr(args, name) is None else getattr(args, name)
        if option.least is not None and value < option.least:
            raise TimError(f"{option.flag} {value}: must be {option.least} or more")
        setattr(filled, name, value)
    return filled
