"""From the command line and an option file to BasicSR's options: what ``basicsr.utils.options.parse_options`` gives.

Ours accepts both spellings of ``--local-rank``, reads YAML and ``--force_yml`` without evaluating code, starts
processes on CPUs too, keeps ``path: experiments_root``, and checks everything before anything is written or loaded.
"""

from __future__ import annotations

import argparse
import json
import os
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tim_plugin.options.checks import CheckedOptions, check_options
from tim_plugin.options.sections import addable_sections
from tim_plugin.utils.errors import TimError, did_you_mean


def parse_options(
    root_path: str, is_train: bool = True, argv: list[str] | None = None
) -> tuple[dict, argparse.Namespace]:
    """Return the options and the arguments, as BasicSR's function of the same name.

    Args:
        root_path: ``experiments/`` and ``results/`` are made below it, unless the file names ``path: experiments_root``
            or ``path: results_root``.
        is_train: Training or test.
        argv: Arguments; None takes ``sys.argv``.

    Raises:
        TimError: The file or an option is wrong.
    """
    from tim_plugin.utils.processes import set_up  # loads torch, which reading a file does without

    args = _parser().parse_args(argv)
    opt = read_option_file(args.opt)
    for entry in args.force_yml or ():
        set_option(opt, entry)
    opt["is_train"], opt["auto_resume"] = is_train, args.auto_resume
    opt["path"] = opt.get("path") or {}  # a section with all its keys commented out
    if args.debug and not str(opt.get("name", "debug")).startswith("debug"):
        opt["name"] = f"debug_{opt['name']}"
    _expand_paths(opt)
    check_options(opt)
    opt = CheckedOptions(opt)
    opt["dist"] = args.launcher != "none"
    set_up(opt, args.launcher)
    _set_phases(opt)
    (_set_training_paths if is_train else _set_test_paths)(opt, Path(root_path))
    return opt, args


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="BasicSR's options; see options/*.yml.")
    parser.add_argument("-opt", required=True, help="path to the option YAML file")
    parser.add_argument("--launcher", choices=["none", "pytorch", "slurm"], default="none", help="job launcher")
    parser.add_argument("--auto_resume", action="store_true", help="go on from the newest training state, if any")
    parser.add_argument("--debug", action="store_true", help="validate, log and save every few iterations")
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0, help="set by torch's launcher")
    parser.add_argument("--force_yml", nargs="+", metavar="SECTION:KEY=VALUE", help="override options of the file")
    return parser


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """Plain values only, mappings in their order, and a key given twice is an error."""


def _construct_mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> OrderedDict:
    pairs = loader.construct_pairs(node, deep=True)
    keys = [key for key, _ in pairs]
    for key in keys:
        if keys.count(key) > 1:
            raise TimError(
                f"{node.start_mark.name}: key '{key}' stands twice in the section that begins in line "
                f"{node.start_mark.line + 1}: keep one"
            )
    return OrderedDict(pairs)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _construct_mapping)


def read_option_file(path: str | Path) -> OrderedDict:
    """Read an option file; only plain YAML values are accepted.

    Raises:
        TimError: The file is missing, is not YAML (with the line), or holds no sections.
    """
    try:
        with open(path, encoding="utf-8") as file:
            opt = yaml.load(file, Loader=_Loader)
    except OSError as error:
        raise TimError(f"-opt {path}: cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        raise TimError(f"-opt {path}: is not valid YAML{where}: {getattr(error, 'problem', error)}") from error
    if not isinstance(opt, dict):
        raise TimError(f"-opt {path}: holds no options; see options/train_tim_sr16x.yml")
    return opt


def set_option(opt: dict[str, Any], entry: str) -> None:
    """Set one option from ``SECTION:KEY=VALUE``; the value is read as YAML (and ``1e-4`` as a number).

    A section that the file lacks and might have (``val``, ``train: scheduler``, ``val: metrics: NAME``) is added.

    Raises:
        TimError: No ``=``, an unknown section, or a value that is not YAML.
    """
    name, equals, text = entry.partition("=")
    *sections, key = name.strip().split(":")
    if not equals or not key:
        raise TimError(f"--force_yml {entry}: must be SECTION:KEY=VALUE, for example train:ema_decay=0.999")
    section: Any = opt
    for depth, part in enumerate(sections):
        if not isinstance(section.get(part), dict):
            possible = addable_sections(sections[:depth])
            if part not in possible and not _is_own_name(sections[:depth], part):
                known = {*possible, *(name for name, value in section.items() if isinstance(value, dict))}
                raise TimError(
                    f"--force_yml {entry}: the option file has no section '{part}': {did_you_mean(part, known)}"
                )
            section[part] = OrderedDict()
        section = section[part]
    try:
        value = yaml.load(text.strip(), Loader=_Loader)
    except yaml.YAMLError as error:
        raise TimError(f"--force_yml {entry}: {text!r} is not a YAML value") from error
    section[key] = _as_number(value)


def _is_own_name(path: list[str], name: str) -> bool:
    """Tell whether a section may have this name, which is the user's own, such as that of a metric."""
    is_phase = path == ["datasets"] and name.split("_")[0] in ("train", "val", "test")
    return is_phase or (path == ["val", "metrics"] and name != "")


def read_with_overrides(path: Path, overrides: Mapping[str, Any]) -> tuple[OrderedDict, list[str]]:
    """Read an option file and replace options, for a run that a program starts.

    Args:
        path: Of the option file.
        overrides: Values by ``SECTION:KEY``.

    Returns:
        The options, and the arguments that give :func:`parse_options` the same.

    Raises:
        TimError: The file or a section's name is wrong.
    """
    opt, entries = read_option_file(path), [f"{key}={json.dumps(value)}" for key, value in overrides.items()]
    for entry in entries:
        set_option(opt, entry)
    return opt, ["-opt", str(path), *(["--force_yml", *entries] if entries else [])]


def _as_number(value: Any) -> Any:
    if not isinstance(value, str) or not value[:1].isdigit():
        return value
    try:
        return float(value)
    except ValueError:
        return value


def _expand_paths(opt: dict[str, Any]) -> None:
    sections = [*(opt.get("datasets") or {}).values(), opt.get("path") or {}]
    for section in sections:
        for key, value in section.items() if isinstance(section, dict) else ():
            if isinstance(value, str) and (
                key.startswith(("dataroot", "pretrain_network"))
                or key in ("resume_state", "experiments_root", "results_root", "meta_info_file")
            ):
                section[key] = os.path.expanduser(value)


def _set_phases(opt: dict[str, Any]) -> None:
    for phase, dataset in opt["datasets"].items():
        dataset["phase"] = phase.split("_")[0]
        if "scale" in opt:
            dataset["scale"] = opt["scale"]


def _set_training_paths(opt: dict[str, Any], root: Path) -> None:
    experiment = Path(opt["path"].get("experiments_root") or root / "experiments") / opt["name"]
    opt["path"].update(
        experiments_root=str(experiment),
        models=str(experiment / "models"),
        log=str(experiment),
        training_states=str(experiment / "training_states"),
        visualization=str(experiment / "visualization"),
    )
    if "debug" in opt["name"]:
        if "val" in opt:
            opt["val"]["val_freq"] = 8
        opt["logger"].update(print_freq=1, save_checkpoint_freq=8)


def _set_test_paths(opt: dict[str, Any], root: Path) -> None:
    results = Path(opt["path"].get("results_root") or root / "results") / opt["name"]
    opt["path"].update(results_root=str(results), log=str(results), visualization=str(results / "visualization"))
