"""BasicSR's loops make and move folders first and build data sets and networks then; here these are built before.

What is built ahead is handed over when the loop asks for it, and what was logged meanwhile is then logged: the log is
the same, and what is wrong is found while every folder is as it was.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from basicsr.utils.logger import initialized_logger

LOGGER = "basicsr"


class BuiltAhead:
    """Results by the name of the function that the loop is going to call, in the order of the calls.

    Attributes:
        last: The last result of each function.
    """

    def __init__(self) -> None:
        self.last: dict[str, Any] = {}
        self._waiting: dict[str, deque[tuple[Any, list[logging.LogRecord]]]] = {}

    def build(self, name: str, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Call a function, keep its result and what it logs, and return the result."""
        with _held_back() as records:
            result = function(*args, **options)
        self.last[name] = result
        self._waiting.setdefault(name, deque()).append((result, records))
        return result

    def hand_over(self, name: str) -> Callable[..., Any]:
        """Return what stands for the function in the loop: it gives the next result, and logs what was held back."""

        def next_result(*args: Any, **options: Any) -> Any:
            result, records = self._waiting[name].popleft()
            logger = logging.getLogger(LOGGER)
            for record in records:
                if logger.isEnabledFor(record.levelno):
                    logger.handle(record)
            return result

        return next_result


@contextmanager
def _held_back() -> Iterator[list[logging.LogRecord]]:
    """Collect what is logged; BasicSR's logger, which its first use sets up for good, is left as it was."""
    logger, records = logging.getLogger(LOGGER), []
    handler = logging.Handler()
    handler.emit = records.append
    level, propagate = logger.level, logger.propagate
    was_set_up = initialized_logger.get(LOGGER)
    initialized_logger[LOGGER] = True
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield records
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate
        if was_set_up is None:
            initialized_logger.pop(LOGGER, None)
