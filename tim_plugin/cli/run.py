"""How a command runs: its errors are one line, of several processes one of them says it, and it can be quiet."""

from __future__ import annotations

import io
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from typing import Any

import tqdm.std
from torch import distributed

from tim_plugin.utils.errors import NonFiniteError, TimError
from tim_plugin.utils.processes import (
    ENDED,
    LOST,
    EndedByLauncher,
    Interrupted,
    is_first_to_report,
    is_lost_connection,
    raising_on_sigterm,
    rank_prefix,
)

INTERRUPTED = "interrupted; what was written stays: the same command goes on"


def run(command: Callable[[], Any], quiet: bool = False) -> None:
    """Run a command line tool: a user's mistake is one line on stderr and exit status 2, not a traceback.

    Of several processes, the first that fails says so; the launcher then ends the others.

    Args:
        command: To be called.
        quiet: Print nothing but errors and what is left out.

    Raises:
        SystemExit: With status 2 after a TimError, 1 after a loss that is not finite or where another process is gone,
            130 after Ctrl-C, 143 after SIGTERM.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files need not be text
    warnings.filterwarnings("ignore", module=r"PIL\.")  # what they tell of a damaged file is an error of ours
    try:
        with raising_on_sigterm(), quietly() if quiet else nullcontext():
            command()
    except (TimError, NonFiniteError) as error:
        sys.exit(_fail(str(error), 2 if isinstance(error, TimError) else 1))
    except RuntimeError as error:
        if not is_lost_connection(error):
            raise
        sys.exit(_fail(LOST, 1))
    except EndedByLauncher as ended:
        sys.exit(_fail(ENDED, ended.code))
    except KeyboardInterrupt as stop:
        told = stop if isinstance(stop, Interrupted) else Interrupted(signal.SIGINT)
        sys.exit(_fail(str(told) if told.where else INTERRUPTED, 128 + told.signal))
    if distributed.is_initialized():  # not after an error: to leave in good order takes all processes
        distributed.destroy_process_group()


def _fail(message: str, status: int) -> int:
    if is_first_to_report():
        tqdm.std.tqdm.write(f"error: {rank_prefix()}{message}", file=sys.stderr)  # not behind a bar that is open
    return status


@contextmanager
def quietly() -> Iterator[None]:
    """Print nothing on stdout and show no progress bars."""
    original = tqdm.std.tqdm.__init__

    def without_bar(bar: Any, *args: Any, **options: Any) -> None:
        original(bar, *args, **{**options, "disable": True})

    tqdm.std.tqdm.__init__ = without_bar
    try:
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
            yield
    finally:
        tqdm.std.tqdm.__init__ = original
