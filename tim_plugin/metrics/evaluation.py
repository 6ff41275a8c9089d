"""What ``tools/evaluate.py`` runs: checks first, then one pass over the images, then the table and the JSON file."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tim_plugin import __version__
from tim_plugin.degradations.tasks import get_task
from tim_plugin.inference.devices import choose_device
from tim_plugin.losses.backbones import TIM_SMALL
from tim_plugin.losses.distance import PerceptualDistance, require_distance
from tim_plugin.metrics import calibration
from tim_plugin.metrics.case_measures import Tools, check_metrics, score
from tim_plugin.metrics.cases import FolderCases
from tim_plugin.metrics.evaluation_arguments import of_network, refuse_of_network, refuse_unread, require_known
from tim_plugin.metrics.feature_extractors import Extractor, build_extractor, default_extractor, require_extractor
from tim_plugin.metrics.network_cases import NetworkCases, temperature_for
from tim_plugin.metrics.report import table, without_infinities
from tim_plugin.metrics.set_measures import check_sets
from tim_plugin.metrics.several_samples import LEAST_SAMPLES
from tim_plugin.options.option_file import parse_options
from tim_plugin.utils.checkpoints import load_into, parameters_of, read_checkpoint, require_same_network
from tim_plugin.utils.errors import MissingWeightsError, TimError
from tim_plugin.utils.folder_lock import locked
from tim_plugin.utils.images import read_image
from tim_plugin.utils.metric_names import (
    CALIBRATION,
    CONSISTENCY,
    METRICS,
    OF_DISTANCE,
    OF_PIXELS,
    OF_POSTERIOR,
    OF_SETS,
    SPACE,
)
from tim_plugin.utils.networks import network_of
from tim_plugin.utils.task_options import find_option_file
from tim_plugin.utils.writing import make_writable, write_json

BY_DEFAULT = (*OF_PIXELS, "lpips", "lpips_diversity")  # and consistency, where it can be measured
RENAMED = {"agreement": CONSISTENCY}  # metrics, by the name that they had before
NO_LPIPS = "; --lpips-backbone tim_small needs no such file, nor do fid, kid, prc, cfid, psnr, ssim and consistency"


def run_evaluation(args: argparse.Namespace) -> dict[str, Any]:
    """Evaluate as ``tools/evaluate.py`` is told to; print the table and write the JSON file.

    Returns:
        What is written: ``figures`` and ``conditions``.

    Raises:
        TimError: An argument or a folder is wrong; nothing is written. Or a file is wrong: its input is left out, and
            this is raised at the end, when the figures of all others are written.
    """
    if args.output is not None and args.output.is_dir():
        raise TimError(f"-o {args.output}: is a folder; give a file, such as {args.output / 'figures.json'}")
    if args.samples_in_sets is not None and args.samples_in_sets < 1:
        raise TimError(f"--samples-in-sets {args.samples_in_sets}: must be 1 or more")
    with _naming_options():
        require_known(args)
    device, wanted = choose_device(args.device), None if args.metrics is None else _wanted(args.metrics)
    output = args.output
    with nullcontext() if output is None else locked(output.expanduser(), f"-o {output}", beside=True):
        return _evaluate(args, device, wanted)


def _evaluate(args: argparse.Namespace, device: torch.device, wanted: list[str] | None) -> dict[str, Any]:
    cases, source = _folders(args) if args.opt is None else _network(args, device, wanted or ())
    if wanted is None:
        wanted = [name for name in BY_DEFAULT if cases.num_samples >= LEAST_SAMPLES.get(f"calculate_{name}", 1)]
        wanted += [CONSISTENCY] if cases.measured else []
    metrics = check_metrics(wanted, cases.measured, cases.num_samples, len(cases))
    refuse_unread(args, metrics)
    if args.cache is not None:
        _require_folder(args.cache.expanduser(), f"--cache {args.cache}:")
    floor = check_sets(metrics, len(cases), args.extrapolate, args.floor)
    tools = _tools(args, metrics, device, floor)
    if args.metrics is None:
        named = f"; lpips by {tools.distance.name}" if args.lpips_backbone is None else ""
        print(f"--metrics: not given: {', '.join(metrics)}{named}: nothing is downloaded", flush=True)
    if args.feature_extractor is None and tools.extractor is not None:
        print(f"--feature-extractor: not given: {tools.extractor.name}", flush=True)
    figures = score(cases, tools, cases.measured, len(cases))
    conditions = {**source, **_conditions(args, cases, tools)}
    print(table(figures, conditions), flush=True)
    content = {"figures": figures, "conditions": {key: value for key, value in conditions.items() if value is not None}}
    if args.output is not None:
        _write(args.output, content)
        print(f"written: {args.output}", flush=True)
    if cases.left_out:
        raise TimError(f"{cases.left_out[0]}; {_left_out(cases)} are left out, and the figures are of the others")
    return content


def _left_out(cases: FolderCases | NetworkCases) -> str:
    return f"{len(cases.left_out)} of {len(cases)} inputs"


def _wanted(metrics: str) -> list[str]:
    """Return the names of ``--metrics``; what is called otherwise now is said once."""
    names = [name.strip() for name in metrics.split(",") if name.strip()]
    if not names:
        raise TimError(f"--metrics: names none: give some of {', '.join(METRICS)}")
    for old, new in RENAMED.items():
        if old in names:
            print(f"note: --metrics {old} is called {new} now", file=sys.stderr, flush=True)
    names = [RENAMED.get(name, name) for name in names]
    return list(dict.fromkeys(one for name in names for one in (OF_POSTERIOR if name == CALIBRATION else (name,))))


def _require_weights(args: argparse.Namespace, wanted: Iterable[str]) -> None:
    """Raise TimError for weights that are not there, before any network is built."""
    for backbone in _backbones(args, wanted).values():
        with _naming_options():
            require_distance(backbone, args.lpips_weights)
    if any(name in OF_SETS for name in wanted):
        with _naming_others():
            require_extractor(_judge(args))


def _conditions(args: argparse.Namespace, cases: FolderCases | NetworkCases, tools: Tools) -> dict[str, Any]:
    """Return what figures were measured on and with; None where it does not matter to them."""
    return {
        "metrics": ", ".join(tools.metrics) + (" (by default)" if args.metrics is None else ""),
        "inputs": len(cases) - len(cases.left_out),
        "left_out": _left_out(cases) if cases.left_out else None,
        "samples_of_each": cases.num_samples,
        "distance": None if tools.distance is None else tools.distance.name,
        f"{SPACE}_distance": None if tools.space_distance is None else tools.space_distance.name,
        "features": None if tools.extractor is None else tools.extractor.name,
        "samples_in_sets": "all" if args.samples_in_sets is None else args.samples_in_sets,
        "floor": None if args.floor is None else str(args.floor),
        "fwv": _fwv(tools) if "fwv" in tools.metrics else None,
        CALIBRATION: calibration.ABOUT if tools.measures_any(OF_POSTERIOR) else None,
        "device": str(tools.device),
        "versions": f"tim_plugin {__version__}, torch {torch.__version__}",
    }


def _write(file: Path, content: Mapping[str, Any]) -> None:
    try:
        write_json(file, without_infinities(content))
    except OSError as error:
        raise TimError(f"-o {file}: cannot be written: {error.strerror or error}") from error


def _require_folder(folder: Path, where: str) -> None:
    try:
        make_writable(folder)
    except OSError as error:
        raise TimError(f"{where} is no folder that files can be written to: {error.strerror or error}") from error


def _folders(args: argparse.Namespace) -> tuple[FolderCases, dict[str, Any]]:
    if args.pred is None or args.gt is None:
        raise TimError("give --pred DIR and --gt DIR, or -opt FILE with -m CHECKPOINT")
    refuse_of_network(args)
    if args.lq is not None and args.task is None:
        raise TimError(f"--lq {args.lq}: say which --task made these inputs, such as sr16x")
    if args.basis is not None and args.task is None:
        raise TimError(f"--basis {args.basis}: goes with --task mnist_pca")
    degradation = None
    if args.task is not None:
        section = {} if args.basis is None else {"basis": args.basis}
        degradation = get_task(args.task).build(section, f"--task {args.task}")
        if not degradation.measured:
            raise TimError(f"--task {args.task}: its inputs give nothing to compare with: leave --task out")
        if degradation.needs and args.lq is None:
            raise TimError(f"--task {args.task}: needs the inputs themselves: give --lq DIR")
    cases = FolderCases(args.pred, args.gt, args.pattern, degradation, args.lq)
    source = {"samples": str(args.pred), "ground_truths": str(args.gt), "task": args.task}
    source["inputs_from"] = None if args.lq is None else str(args.lq)
    if degradation is not None and degradation.scale > 1:
        source["cut_to_multiples_of"] = degradation.scale
    return cases, source


def _network(
    args: argparse.Namespace, device: torch.device, wanted: Iterable[str]
) -> tuple[NetworkCases, dict[str, Any]]:
    args, file = of_network(args), find_option_file(args.opt, "test")
    overrides = list(args.force_yml)
    if args.model is not None:
        overrides.append(f"path:pretrain_network_g={json.dumps(str(args.model))}")
    argv = ["-opt", str(file), *(["--force_yml", *overrides] if overrides else [])]
    opt, _ = parse_options(str(Path.cwd()), is_train=False, argv=argv)
    _require_weights(args, wanted)
    network, checkpoint = _trained(args, opt), opt["path"].get("pretrain_network_g")
    (phase, dataset), *others = [(key, one) for key, one in opt["datasets"].items() if key.startswith("test")]
    if others:
        raise TimError(f"-opt {args.opt}: holds {len(others) + 1} data sets; keep the one that is to be evaluated")
    temperature = temperature_for(network, args.temperature)
    cases = NetworkCases(dataset, network, args.num_samples, args.seed, device, args.batch, temperature)
    source = {"option_file": str(file), "data_set": dataset.get("name", phase), "checkpoint": str(checkpoint)}
    source |= {"forced": " ".join(args.force_yml) or None, "seed": args.seed}
    return cases, {**source, "temperature": None if temperature == 1 else args.temperature}


def _trained(args: argparse.Namespace, opt: Mapping[str, Any]) -> nn.Module:
    """Return the network that the options describe, as tools/test.py does, and not the one that the checkpoint does."""
    path = opt["path"].get("pretrain_network_g")
    checkpoint = None if path is None else read_checkpoint(path)
    network = network_of(opt["network_g"]).requires_grad_(False)
    if checkpoint is None:
        if any(True for _ in network.parameters()):
            raise TimError(f"-opt {args.opt}: names no path: pretrain_network_g; give the checkpoint with -m")
        return network
    state = parameters_of(checkpoint, path, opt["path"].get("param_key_g"), network)
    strict = opt["path"].get("strict_load_g", True)
    if strict:
        for line in require_same_network(network, checkpoint, path):
            print(f"note: {line}", file=sys.stderr, flush=True)
    for line in load_into(network, state, path, strict):
        print(f"not loaded from {path}: {line}", flush=True)
    return network


def _backbones(args: argparse.Namespace, wanted: Iterable[str]) -> dict[str, str]:
    """Return the backbones of the distances that metrics need: that of all, and the challenge's."""
    backbone = args.lpips_backbone or (TIM_SMALL if args.metrics is None else "vgg16")
    found = {"distance": backbone} if args.metrics is None or any(name in OF_DISTANCE for name in wanted) else {}
    if SPACE in wanted:  # the challenge measures with AlexNet, unless other weights are given for another backbone
        own = args.lpips_weights in ("imagenet", "random") or (args.lpips_weights is None and backbone != TIM_SMALL)
        found["space_distance"] = "alexnet" if own else backbone
    return found


def _tools(args: argparse.Namespace, metrics: tuple[str, ...], device: torch.device, floor: Sequence[Path]) -> Tools:
    return Tools(
        metrics,
        extractor=_extractor(_judge(args)) if any(name in OF_SETS for name in metrics) else None,
        device=device,
        fwv_squared=args.fwv_squared,
        fwv_reduction=args.fwv_reduction or "mean",
        samples_in_sets=args.samples_in_sets,
        cache=None if args.cache is None else args.cache.expanduser(),
        at_infinity=args.extrapolate,
        floor=(read_image(path).rgb for path in floor) if floor else None,
        **{key: _distance(args, one).to(device) for key, one in _backbones(args, metrics).items()},
    )


def _judge(args: argparse.Namespace) -> str:
    return args.feature_extractor or default_extractor()


def _extractor(choice: str) -> Extractor:
    with _naming_others():
        return build_extractor(choice)


def _distance(args: argparse.Namespace, backbone: str) -> PerceptualDistance:
    with _naming_options():
        return PerceptualDistance(
            backbone=backbone, weights=args.lpips_weights, calibration=args.lpips_calibration, seed=0
        )


@contextmanager
def _naming_others() -> Iterator[None]:
    """Say which measures need no missing file."""
    try:
        yield
    except MissingWeightsError as error:
        raise TimError(
            f"{error}; the measures other than {', '.join(OF_SETS[:-1])} and {OF_SETS[-1]} need no such file"
        ) from error


@contextmanager
def _naming_options() -> Iterator[None]:
    """Name the command's options where a distance speaks of an option file's keys: ``use weights: bundled``."""
    try:
        yield
    except TimError as error:
        what = re.sub(
            r"^(backbone|weights|calibration) |\b(backbone|weights|calibration): ", r"--lpips-\1\2 ", str(error)
        )
        raise TimError(what + (NO_LPIPS if isinstance(error, MissingWeightsError) else "")) from error


def _fwv(tools: Tools) -> str:
    exponent = "d^2" if tools.fwv_squared else "d"
    return f"{tools.fwv_reduction} over samples of exp(-{exponent} / (2 sigma^2)) times the distance to the mean sample"
