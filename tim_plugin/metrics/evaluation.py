"""What ``tools/evaluate.py`` runs: checks first, then one pass over the images, then the table and the JSON file."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tim_plugin import __version__
from tim_plugin.degradations.tasks import get_task
from tim_plugin.inference.devices import choose_device
from tim_plugin.losses.distance import PerceptualDistance
from tim_plugin.metrics.case_measures import (
    CONSISTENCY,
    METRICS,
    OF_DISTANCE,
    OF_SETS,
    SPACE,
    Tools,
    check_metrics,
    score,
)
from tim_plugin.metrics.cases import FolderCases, NetworkCases
from tim_plugin.metrics.feature_extractors import Extractor, build_extractor
from tim_plugin.metrics.report import table, without_infinities
from tim_plugin.options.option_file import parse_options
from tim_plugin.utils.checkpoints import load_into, network_of, parameters_of, read_checkpoint, require_same_degradation
from tim_plugin.utils.errors import MissingWeightsError, TimError
from tim_plugin.utils.images import make_writable, write_json

RENAMED = {"agreement": CONSISTENCY}  # metrics, by the name that they had before
NO_LPIPS = (
    "; --lpips-backbone tim_small --lpips-weights bundled --lpips-calibration bundled needs no such file, nor do fid, "
    "kid, prc, psnr, ssim and consistency"
)


def run_evaluation(args: argparse.Namespace) -> dict[str, Any]:
    """Evaluate as ``tools/evaluate.py`` is told to; print the table and write the JSON file.

    Returns:
        What is written: ``figures`` and ``conditions``.

    Raises:
        TimError: An argument, a folder or a file is wrong; nothing is written.
    """
    if args.output is not None and args.output.is_dir():
        raise TimError(f"-o {args.output}: is a folder; give a file, such as {args.output / 'figures.json'}")
    if args.samples_in_sets is not None and args.samples_in_sets < 1:
        raise TimError(f"--samples-in-sets {args.samples_in_sets}: must be 1 or more")
    device, wanted = choose_device(args.device), _wanted(args.metrics)
    cases, source = _folders(args) if args.opt is None else _network(args, device)
    metrics = check_metrics(wanted, cases.measured, cases.num_samples, len(cases))
    if args.output is not None:
        _require_folder(args.output.parent, f"-o {args.output}: {args.output.parent}")
    if args.cache is not None:
        _require_folder(args.cache.expanduser(), f"--cache {args.cache}:")
    tools = _tools(args, metrics, device)
    figures = score(cases, tools, cases.measured, len(cases))
    conditions = {**source, **_conditions(args, cases, tools)}
    print(table(figures, conditions), flush=True)
    content = {"figures": figures, "conditions": {key: value for key, value in conditions.items() if value is not None}}
    if args.output is not None:
        _write(args.output, content)
        print(f"written: {args.output}", flush=True)
    return content


def _wanted(metrics: str) -> list[str]:
    """Return the names of ``--metrics``; what is called otherwise now is said once."""
    names = [name.strip() for name in metrics.split(",") if name.strip()]
    if not names:
        raise TimError(f"--metrics: names none: give some of {', '.join(METRICS)}")
    for old, new in RENAMED.items():
        if old in names:
            print(f"note: --metrics {old} is called {new} now", file=sys.stderr, flush=True)
    return list(dict.fromkeys(RENAMED.get(name, name) for name in names))


def _conditions(args: argparse.Namespace, cases: FolderCases | NetworkCases, tools: Tools) -> dict[str, Any]:
    """Return what figures were measured on and with; None where it does not matter to them."""
    return {
        "inputs": len(cases),
        "samples_of_each": cases.num_samples,
        "distance": None if tools.distance is None else tools.distance.name,
        f"{SPACE}_distance": None if tools.space_distance is None else tools.space_distance.name,
        "features": None if tools.extractor is None else tools.extractor.name,
        "samples_in_sets": "all" if args.samples_in_sets is None else args.samples_in_sets,
        "fwv": _fwv(args) if "fwv" in tools.metrics else None,
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
    if args.model is not None or args.force_yml:
        raise TimError(f"{'--force_yml' if args.force_yml else '-m'}: goes with -opt FILE; --pred names samples")
    if args.lq is not None and args.task is None:
        raise TimError(f"--lq {args.lq}: say which --task made these inputs, such as sr16x")
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


def _network(args: argparse.Namespace, device: torch.device) -> tuple[NetworkCases, dict[str, Any]]:
    for name, value in (("--pred", args.pred), ("--gt", args.gt), ("--lq", args.lq), ("--task", args.task)):
        if value is not None:
            raise TimError(f"{name}: goes with samples that are there; -opt names the data")
    if args.num_samples < 1:
        raise TimError(f"-n {args.num_samples}: must be 1 or more")
    if args.batch < 1:
        raise TimError(f"--batch {args.batch}: must be 1 or more")
    overrides = list(args.force_yml)
    if args.model is not None:
        overrides.append(f"path:pretrain_network_g={json.dumps(str(args.model))}")
    argv = ["-opt", str(args.opt), *(["--force_yml", *overrides] if overrides else [])]
    opt, _ = parse_options(str(Path.cwd()), is_train=False, argv=argv)
    network, checkpoint = _trained(args, opt), opt["path"].get("pretrain_network_g")
    (phase, dataset), *others = [(key, one) for key, one in opt["datasets"].items() if key.startswith("test")]
    if others:
        raise TimError(f"-opt {args.opt}: holds {len(others) + 1} data sets; keep the one that is to be evaluated")
    cases = NetworkCases(dataset, network, args.num_samples, args.seed, device, args.batch)
    source = {"option_file": str(args.opt), "data_set": dataset.get("name", phase), "checkpoint": str(checkpoint)}
    return cases, {**source, "forced": " ".join(args.force_yml) or None, "seed": args.seed}


def _trained(args: argparse.Namespace, opt: Mapping[str, Any]) -> nn.Module:
    """Return the network that the options describe, as tools/test.py does, and not the one that the checkpoint does."""
    network = network_of(opt["network_g"]).requires_grad_(False)
    path = opt["path"].get("pretrain_network_g")
    if path is None:
        if any(True for _ in network.parameters()):
            raise TimError(f"-opt {args.opt}: names no path: pretrain_network_g; give the checkpoint with -m")
        return network
    checkpoint = read_checkpoint(path)
    state = parameters_of(checkpoint, path, opt["path"].get("param_key_g"), network)
    strict = opt["path"].get("strict_load_g", True)
    if strict:
        require_same_degradation(network, checkpoint, path)
    for line in load_into(network, state, path, strict):
        print(f"not loaded from {path}: {line}", flush=True)
    return network


def _tools(args: argparse.Namespace, metrics: tuple[str, ...], device: torch.device) -> Tools:
    distance = space = None
    if any(name in OF_DISTANCE for name in metrics):
        distance = _distance(args, args.lpips_backbone).to(device)
    if SPACE in metrics:  # the challenge measures with AlexNet, unless other weights are given for another backbone
        own = args.lpips_weights in ("imagenet", "random")
        space = _distance(args, "alexnet" if own else args.lpips_backbone).to(device)
    return Tools(
        metrics,
        distance,
        space,
        _extractor(args.feature_extractor) if any(name in OF_SETS for name in metrics) else None,
        device,
        fwv_squared=args.fwv_squared,
        fwv_reduction=args.fwv_reduction,
        samples_in_sets=args.samples_in_sets,
        cache=None if args.cache is None else args.cache.expanduser(),
    )


def _extractor(choice: str) -> Extractor:
    try:
        return build_extractor(choice)
    except MissingWeightsError as error:
        raise TimError(
            f"{error}; the measures other than {', '.join(OF_SETS[:-1])} and {OF_SETS[-1]} need no such file"
        ) from error


def _distance(args: argparse.Namespace, backbone: str) -> PerceptualDistance:
    try:
        return PerceptualDistance(
            backbone=backbone, weights=args.lpips_weights, calibration=args.lpips_calibration, seed=0
        )
    except TimError as error:
        # It speaks of an option file's keys: "weights 'imagenet': ...", "use weights: bundled".
        what = re.sub(
            r"^(backbone|weights|calibration) |\b(backbone|weights|calibration): ", r"--lpips-\1\2 ", str(error)
        )
        raise TimError(what + (NO_LPIPS if isinstance(error, MissingWeightsError) else "")) from error


def _fwv(args: argparse.Namespace) -> str:
    exponent = "d^2" if args.fwv_squared else "d"
    return f"{args.fwv_reduction} over samples of exp(-{exponent} / (2 sigma^2)) times the distance to the mean sample"
