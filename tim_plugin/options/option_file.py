"""From the command line and an option file to BasicSR's options: what ``basicsr.utils.options.parse_options`` gives.

Ours accepts both spellings of ``--local-rank``, reads YAML and ``--force_yml`` without evaluating code, starts
processes on CPUs too, keeps ``path: experiments_root``, and checks everything before anything is written or loaded.
"""

from __future__ import annotations

import argparse
import json
import os
import re
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tim_plugin.options.checks import RULES, CheckedOptions, check_options
from tim_plugin.options.plain_checks import join, shown
from tim_plugin.options.sections import DATASETS, OptionFile, PathSection, addable_sections
from tim_plugin.options.yaml_file import load, read_option_file
from tim_plugin.utils.errors import TimError, did_you_mean
from tim_plugin.utils.names import check_name
from tim_plugin.utils.plain_numbers import plain_numbers


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
    from tim_plugin.options.machine_checks import check_machine  # load torch, which reading a file does without
    from tim_plugin.utils.processes import set_up

    args = _parser().parse_args(argv)
    opt = read_option_file(args.opt)
    for entry in args.force_yml or ():
        set_option(opt, entry)
    _refuse_filled_in(opt)
    opt["is_train"], opt["auto_resume"] = is_train, args.auto_resume
    opt["path"] = opt.get("path") or {}  # a section with all its keys commented out
    _check_names(opt)
    if args.debug and isinstance(opt.get("name"), str) and not opt["name"].startswith("debug"):
        opt["name"] = f"debug_{opt['name']}"
    _expand_paths(opt)
    check_options(opt)
    check_machine(opt, is_train)
    opt = CheckedOptions(opt)
    _leave_out_empty(opt)
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


def set_option(opt: dict[str, Any], entry: str) -> None:
    """Set one option from ``SECTION:KEY=VALUE``; the value is read as YAML.

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
        section[key] = load(text.strip())
    except (yaml.YAMLError, TimError) as error:
        raise TimError(f"--force_yml {entry}: {shown(text)} is not a YAML value") from error


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
        TimError: The file or a section's name is wrong, or a value is nothing that YAML holds.
    """
    opt, entries = read_option_file(path), [f"{key}={_as_json(key, value)}" for key, value in overrides.items()]
    for entry in entries:
        set_option(opt, entry)
    return opt, ["-opt", str(path), *(["--force_yml", *entries] if entries else [])]


def _as_json(key: str, value: Any) -> str:
    """Return an option's value as a text that YAML reads as the same; numbers, arrays and paths become plain values."""

    def plain(part: Any) -> Any:
        if isinstance(part, os.PathLike):
            return os.fspath(part)
        found = plain_numbers(part)
        if found is part:
            raise TimError(f"{key} is or holds a {type(part).__name__}: give what YAML holds: numbers, texts, lists")
        return found

    try:
        text = json.dumps(value, default=plain, allow_nan=False, ensure_ascii=False)
    except ValueError as error:
        if isinstance(error, TimError):
            raise
        raise TimError(f"{key} holds a number that is not finite: give finite numbers") from error
    # YAML's line breaks beside those of JSON; and it knows no escaped pairs, as which JSON would write other letters.
    return re.sub("[\x7f-\x9f\u2028\u2029\ufeff]", lambda letter: f"\\u{ord(letter[0]):04x}", text)


def _check_names(opt: Mapping[str, Any]) -> None:
    """Refuse names that files and folders of the run cannot have."""
    datasets = opt.get("datasets")
    sections = {f"datasets: {phase}: ": one for phase, one in datasets.items()} if isinstance(datasets, dict) else {}
    for where, section in {"": opt, **sections}.items():
        if isinstance(section, dict) and section.get("name") is not None:
            check_name(f"{where}name", section["name"])
    suffix = opt["val"].get("suffix") if isinstance(opt.get("val"), dict) else None
    if suffix not in (None, ""):
        check_name("val: suffix", suffix)


def _expand_paths(opt: dict[str, Any]) -> None:
    datasets = opt.get("datasets")
    sections = [*(datasets.values() if isinstance(datasets, dict) else ()), opt.get("path")]
    for section in sections:
        for key, value in section.items() if isinstance(section, dict) else ():
            if (
                isinstance(value, str)
                and isinstance(key, str)
                and (
                    key.startswith(("dataroot", "pretrain_network"))
                    or key in ("resume_state", "experiments_root", "results_root", "meta_info_file")
                )
            ):
                section[key] = os.path.expanduser(value)


def _refuse_filled_in(opt: Mapping[str, Any]) -> None:
    """Refuse keys that are written over, so that a file's value for them would be ignored."""
    datasets = opt.get("datasets")
    places = [("", opt, OptionFile.filled_in), ("path", opt.get("path"), PathSection.filled_in)]
    if isinstance(datasets, Mapping):
        places += [(f"datasets: {phase}", one, ("phase",)) for phase, one in datasets.items()]
    for place, section, keys in places:
        for key in keys if isinstance(section, Mapping) else ():
            if key in section:
                raise TimError(f"{join(place, key)} is set by the program itself: leave it out")


def _leave_out_empty(opt: dict[str, Any]) -> None:
    """Leave out what is ``~`` where BasicSR would not take its default for it."""
    if opt["model_type"] not in RULES:
        return
    sections = [dataset for dataset in opt["datasets"].values() if dataset["type"] in DATASETS]
    sections += [opt.get("train") or {}, *((opt.get("val") or {}).get("metrics") or {}).values()]
    sections += [section for section in (opt.get("train") or {}).values() if isinstance(section, dict)]
    for section in sections:
        for key in [key for key, value in section.items() if value is None]:
            del section[key]
    if opt["path"].get("strict_load_g", True) is None:
        del opt["path"]["strict_load_g"]


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
