"""A run goes on where its log file or TensorBoard's files cannot be written: what is trained is worth more than they.

Each says once, on standard error, that it cannot. The log's lines are kept, and written once there is room again;
TensorBoard's writer ends with its first error. A checkpoint that cannot be written ends the run.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tim_plugin.utils.notes import say_once

_THREAD = "_AsyncWriterThread"  # TensorBoard's


def say_unwritable(handler: logging.FileHandler, record: logging.LogRecord) -> None:
    """Stand for ``logging.FileHandler.handleError``, which prints a traceback for each line.

    Args:
        handler: Of the log file.
        record: What could not be written.
    """
    error = sys.exc_info()[1]
    if isinstance(error, OSError):
        say_once(handler, f"{handler.baseFilename}: cannot be written: {error.strerror or error}; the run goes on")
    else:
        logging.Handler.handleError(handler, record)


def close(handler: logging.Handler) -> None:
    """Close a handler; a file's last lines are lost where they cannot be written."""
    try:
        handler.close()
    except OSError as error:
        where = getattr(handler, "baseFilename", handler)
        say_once(handler, f"{where}: cannot be written: {error.strerror or error}")


def thread_hook(original: Callable[..., None], failed: threading.ExceptHookArgs) -> None:
    """Stand for ``threading.excepthook``: of TensorBoard's thread, :class:`Board` says what is wrong."""
    if type(failed.thread).__name__ != _THREAD or not isinstance(failed.exc_value, OSError):
        original(failed)


def board(original: Callable[[dict[str, Any]], Any], opt: dict[str, Any]) -> Any:
    """Return the run's writer for TensorBoard, or None, as BasicSR's ``init_tb_loggers`` does."""
    writer = original(opt)
    return None if writer is None else Board(writer, Path(opt["root_path"], "tb_logger", opt["name"]))


class Board:
    """TensorBoard's writer, without its errors where a file cannot be written.

    Args:
        writer: Has ``add_scalar`` and others.
        folder: That it writes to.
    """

    def __init__(self, writer: Any, folder: Path) -> None:
        self._writer, self._folder = writer, folder

    def __getattr__(self, name: str) -> Any:
        function = getattr(self._writer, name)

        def call(*args: Any, **options: Any) -> Any:
            try:
                return function(*args, **options)
            except OSError as error:
                what = f"{self._folder}: cannot be written: {error.strerror or error}; the run goes on without it"
                say_once(self, what)
                return None

        return call if callable(function) else function
