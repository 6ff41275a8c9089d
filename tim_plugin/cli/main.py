"""``tim COMMAND ...``: finds the command, parses its arguments, and only then loads what the command needs.

``tools/train.py``, ``test.py``, ``sample.py``, ``evaluate.py`` and ``prepare_data.py`` are the same commands by the
names that BasicSR's users type.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from tim_plugin import __version__
from tim_plugin.cli.given import add_quiet, given_path
from tim_plugin.cli.start import starting
from tim_plugin.cli.told import OURS, drop_output, sentence_and_status


class Command(NamedTuple):
    """A command.

    Attributes:
        sentence: What it does.
        module: Of ``tim_plugin.cli``; has ``add_NAME_arguments(parser)`` and ``NAME(args)``.
        is_light: Whether it needs no torch.
        starts: Said at once, where what it needs takes seconds to load and nothing else is printed for long.
    """

    sentence: str
    module: str
    is_light: bool = False
    starts: str | None = None


COMMANDS = {
    "sample": Command("many samples for images, folders or videos", "sample"),
    "explore": Command("choose among samples on a page in the browser", "explore", starts="tim explore: starting ..."),
    "train": Command("train by an option file, or one of the package by name", "train"),
    "test": Command("sample and measure a data set by an option file", "train"),
    "evaluate": Command("how good, diverse and consistent samples are", "evaluate"),
    "prepare": Command("make a task's training data from photographs, label maps or digits", "prepare"),
    "convert": Command("write a checkpoint, or a file of the method's authors, as safetensors", "convert"),
    "export": Command("write a tower as ONNX, for OpenVINO, or as safetensors", "export"),
    "models": Command("list the towers of the package", "listing", is_light=True),
    "options": Command("print an option file of the package: tim options sr16x > my.yml", "listing", is_light=True),
}
EXIT_CODES = "exit codes: 0 done; 1 failed on the way; 2 a mistake in what was given, or some inputs were left out"


def main(argv: Sequence[str] | None = None, command: str | None = None, root: Path | None = None) -> None:
    """Run a command; a user's mistake is one line on stderr and exit status 2, not a traceback.

    Args:
        argv: Arguments; None takes ``sys.argv``.
        command: A key of :data:`COMMANDS`; None takes the first argument.
        root: ``train`` and ``test`` write to ``root/experiments`` and ``root/results``; None: below the current folder.

    Raises:
        SystemExit: With status 1 after a failure, 2 after a mistake; not where all went well.
    """
    _replace_closed_streams()
    try:
        with starting():
            chosen, args, execute = _parsed(list(sys.argv[1:] if argv is None else argv), command, root)
            if chosen.starts is not None and not args.quiet:
                with suppress(OSError):  # what reads it has ended: said where the output is flushed
                    print(chosen.starts, flush=True)
            if not chosen.is_light:
                from tim_plugin.cli.run import run
    except SystemExit:  # after --help, whose reader may have ended
        drop_output()
        raise
    if chosen.is_light:
        _run_light(execute)
    else:
        run(execute, quiet=args.quiet)


def _replace_closed_streams() -> None:
    """Let what is printed to a closed stream (``>&-``), which Python has as None, go nowhere."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))


def _parsed(
    arguments: list[str], command: str | None, root: Path | None
) -> tuple[Command, argparse.Namespace, Callable[[], None]]:
    """Return a command, its arguments, and what runs it; loads its module."""
    prog = None
    if command is None:
        command = _command_parser().parse_args(arguments[:1]).command
        prog, arguments = f"tim {command}", arguments[1:]
    chosen = COMMANDS[command]
    module = import_module(f"tim_plugin.cli.{chosen.module}")
    parser = argparse.ArgumentParser(prog=prog, epilog=EXIT_CODES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.register("type", Path, given_path)
    parser.set_defaults(root=Path.cwd() if root is None else root, quiet=False)
    _add_version(parser)
    if not chosen.is_light:
        add_quiet(parser)
    getattr(module, f"add_{command}_arguments")(parser)
    args = parser.parse_args(_joined(arguments))
    return chosen, args, partial(getattr(module, command), args)


def _command_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tim",
        description="Tower Implicit Model: many plausible samples for one input.",
        epilog=f"tim COMMAND --help says more. {EXIT_CODES}",
    )
    _add_version(parser)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        commands.add_parser(name, help=command.sentence, add_help=False)
    return parser


def _add_version(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--version", action="version", version=f"tim_plugin {__version__}")


def _joined(arguments: list[str]) -> list[str]:
    """Join ``--level-seeds -,-,3`` by ``=``: argparse takes what begins with a dash for an option."""
    found: list[str] = []
    for argument in arguments:
        if argument.startswith("-,") and found and found[-1].startswith("--"):
            found[-1] += f"={argument}"
        else:
            found.append(argument)
    return found


def _run_light(execute: partial) -> None:
    try:
        execute()
        sys.stdout.flush()
    except Exception as error:
        said, status = sentence_and_status(error)
        if said is None:
            traceback.print_exception(error)
        drop_output()
        print(f"error: {said or OURS}", file=sys.stderr)
        sys.exit(status)
