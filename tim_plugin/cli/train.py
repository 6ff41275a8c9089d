"""``tim train`` and ``tim test``: BasicSR's training and test loops, by an option file."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, redirect_stderr
from pathlib import Path
from typing import Any

from tim_plugin.cli.told import STAYS, machine_sentence
from tim_plugin.utils.errors import MachineError
from tim_plugin.utils.task_options import find_option_file

LAUNCHERS = ("none", "pytorch", "slurm")


def add_train_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of training, which are BasicSR's."""
    _add_arguments(parser, "train")
    parser.description = (
        "Train by an option file; results go to experiments/NAME.\n\n"
        "tim train sr16x --force_yml datasets:train:dataroot_gt=PHOTOS datasets:val:dataroot_gt=PHOTOS_VAL\n"
        "tim train -opt my.yml --auto_resume\n"
        "torchrun --nproc_per_node=2 -m tim_plugin train -opt my.yml --launcher pytorch"
    )


def add_test_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of tests, which are BasicSR's."""
    _add_arguments(parser, "test")
    parser.description = (
        "Sample a data set by an option file, several samples for each image; results go to results/NAME.\n\n"
        "tim test sr16x --force_yml datasets:test_1:dataroot_gt=PHOTOS_VAL "
        "path:pretrain_network_g=experiments/NAME/models/net_g_latest.pth"
    )


def _add_arguments(parser: argparse.ArgumentParser, phase: str) -> None:
    parser.add_argument(
        "options", nargs="?", metavar="FILE|NAME", help="an option file, or one of the package by name, see tim options"
    )
    parser.add_argument("-opt", metavar="FILE|NAME", help="the same, as BasicSR spells it")
    parser.add_argument("--launcher", choices=LAUNCHERS, default="none", help="of several processes (default: none)")
    parser.add_argument("--auto_resume", action="store_true", help="go on from the newest training state, if any")
    parser.add_argument("--debug", action="store_true", help="validate, log and save every few iterations")
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0, help="set by torch's launcher")
    parser.add_argument(
        "--force_yml", nargs="+", default=[], metavar="SECTION:KEY=VALUE", help="override options of the file"
    )
    parser.set_defaults(phase=phase, parser=parser)


def train(args: argparse.Namespace) -> None:
    """Train, and say what was written; see :func:`tim_plugin.models.pipeline.train_pipeline`."""
    argv = _argv(args)

    from tim_plugin.models.pipeline import train_pipeline

    with _quiet_log(args), _saying_how_to_go_on():
        _tell(train_pipeline(str(args.root), argv))


def test(args: argparse.Namespace) -> None:
    """Test, and say what was written; see :func:`tim_plugin.models.pipeline.test_pipeline`."""
    argv = _argv(args)

    from tim_plugin.models.pipeline import test_pipeline

    with _quiet_log(args):
        _tell(test_pipeline(str(args.root), argv))


def _argv(args: argparse.Namespace) -> list[str]:
    """The arguments as BasicSR's own parser takes them."""
    if (args.options is None) == (args.opt is None):
        args.parser.error("give one option file: its path or name, or -opt FILE")
    file = find_option_file(args.opt if args.options is None else args.options, args.phase)
    switches = [f"--{name}" for name in ("auto_resume", "debug") if getattr(args, name)]
    forced = ["--force_yml", *args.force_yml] if args.force_yml else []
    return [
        "-opt", str(file), "--launcher", args.launcher, "--local_rank", str(args.local_rank), *switches, *forced
    ]  # fmt: skip


def _quiet_log(args: argparse.Namespace) -> redirect_stderr | nullcontext:
    """BasicSR logs to stderr, and to a file that stays; errors are raised, and printed outside of this."""
    return redirect_stderr(open(os.devnull, "w")) if args.quiet else nullcontext()


@contextmanager
def _saying_how_to_go_on() -> Iterator[None]:
    """Add the command that goes on to what a run says that was interrupted, or that the machine stopped."""
    from tim_plugin.utils.processes import Interrupted

    try:
        yield
    except (OSError, MemoryError, RuntimeError) as error:
        said = machine_sentence(error)
        if said is None:
            raise
        said = f"{said.removesuffix(STAYS)}what was saved stays: go on with: {_resuming(sys.orig_argv)}"
        raise MachineError(said) from error
    except Interrupted as stop:
        raise Interrupted(stop.signal, f"{stop.where}. Go on with: {_resuming(sys.orig_argv)}") from None


def _resuming(command: list[str]) -> str:
    """Return the command of this process, with ``--auto_resume``."""
    if "RANK" in os.environ:  # a launcher has started it, and has options of its own
        return "the same command with --auto_resume"
    console_script = [index for index, word in enumerate(command[:2]) if Path(word).name == "tim"]
    words = ["tim", *command[console_script[0] + 1 :]] if console_script else command
    return shlex.join(words if "--auto_resume" in words else [*words, "--auto_resume"])


def _tell(opt: Mapping[str, Any]) -> None:
    """Print what a run has written, and where."""
    if opt["rank"] == 0:
        found = {what: path for what, path in _written(opt).items() if path is not None and _holds_something(path)}
        print("\n".join(["Written:", *(f"  {what:<12} {path}" for what, path in found.items())]), flush=True)


def _holds_something(path: Path) -> bool:
    return path.is_file() or path.is_dir() and any(path.iterdir())


def _written(opt: Mapping[str, Any]) -> dict[str, Path | None]:
    """Return where each kind of result is; some of them only if it was asked for."""
    folders = {name: Path(opt["path"][name]) for name in ("log", "visualization")}
    logs = sorted(folders["log"].glob(f"{'train' if opt['is_train'] else 'test'}_{opt['name']}_*.log"))
    log = max(logs, key=lambda path: path.stat().st_mtime, default=None)
    if not opt["is_train"]:
        return {"pictures": folders["visualization"], "figures, log": log}
    return {
        "model": Path(opt["path"]["models"], "net_g_latest.pth"),
        "models": Path(opt["path"]["models"]),
        "states": Path(opt["path"]["training_states"]),
        "pictures": folders["visualization"],
        "log": log,
        "TensorBoard": Path(opt["root_path"], "tb_logger", opt["name"]) if opt["logger"].get("use_tb_logger") else None,
    }
