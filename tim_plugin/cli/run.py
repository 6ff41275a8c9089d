"""How a command runs: its errors are one line, of several processes one of them says it, and it can be quiet."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from typing import Any

import tqdm.std
from torch import distributed

from tim_plugin.cli.told import OURS, STAYS, drop_output, sentence_and_status
from tim_plugin.utils.errors import MachineError, NonFiniteError, TimError
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

INTERRUPTED = f"interrupted; {STAYS}"


def run(command: Callable[[], Any], quiet: bool = False) -> None:
    """Run a command line tool: what its user can mend is one line on stderr, not a traceback.

    Of several processes, the first that fails says so; the launcher then ends the others.

    Args:
        command: To be called.
        quiet: Print nothing but errors and what is left out.

    Raises:
        SystemExit: With status 2 after a TimError, 1 after a loss that is not finite, where the machine refused
            something, where another process is gone, or after a fault of ours; 130 after Ctrl-C, 143 after SIGTERM.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files need not be text
    warnings.filterwarnings("ignore", module=r"PIL\.")  # what they tell of a damaged file is an error of ours
    try:
        with raising_on_sigterm(), quietly() if quiet else nullcontext():
            command()
            sys.stdout.flush()
    except Exception as error:
        sys.exit(_failed(error))
    except EndedByLauncher as ended:
        sys.exit(_fail(ENDED, ended.code))
    except KeyboardInterrupt as stop:
        told = stop if isinstance(stop, Interrupted) else Interrupted(signal.SIGINT)
        sys.exit(_fail(str(told) if told.where else INTERRUPTED, 128 + told.signal))
    if distributed.is_initialized():  # not after an error: to leave in good order takes all processes
        distributed.destroy_process_group()


def _failed(error: Exception) -> int:
    """Say what went wrong, and return the exit status."""
    said, status = sentence_and_status(error)
    ours = isinstance(error, (TimError, NonFiniteError, MachineError))
    if not ours and isinstance(error, (RuntimeError, ConnectionError)) and is_lost_connection(error):
        said = LOST
    if said is None:
        traceback.print_exception(error)
        said = OURS
    drop_output()
    return _fail(said, status)


def _fail(message: str, status: int) -> int:
    if hasattr(signal, "SIGCHLD") and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # else torch calls it a failure that a loader's workers are ended
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
