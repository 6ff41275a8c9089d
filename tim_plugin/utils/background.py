"""Files read before they are needed and written after they were handed over, in threads, while the network computes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_WRITERS = 2


def read_ahead(items: Iterable[_Item], read: Callable[[_Item], _Result]) -> Iterator[tuple[_Item, _Result]]:
    """Yield each item with what ``read`` returns for it, while a thread reads the next one.

    Args:
        items: What to read, such as paths.
        read: Reads one of them; an error that it raises is raised when the item's turn comes.
    """
    pool, waiting = ThreadPoolExecutor(1), deque[tuple[_Item, Future[_Result]]]()
    try:
        for item in items:
            waiting.append((item, pool.submit(read, item)))
            if len(waiting) > 1:
                first, future = waiting.popleft()
                yield first, future.result()
        for item, future in waiting:
            yield item, future.result()
    finally:  # not waited for: Python may collect this while it starts a thread, and would wait for itself
        pool.shutdown(wait=False, cancel_futures=True)


class Writer:
    """Runs functions that write files in threads; a context manager that waits for all of them at its end.

    Writes are grouped, one group an input: when all of a group is written, its ``done`` function is called. Groups are
    reported in order, and also when another group's write has failed. A write's error is raised by a later call, at the
    latest when the context ends.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(_WRITERS)
        self._group: list[Future[Any]] = []
        self._groups: deque[tuple[list[Future[Any]], Callable[[], None]]] = deque()
        self._waiting: deque[Future[Any]] = deque()

    def write(self, function: Callable[..., Any], *args: Any, most_waiting: int = 8) -> None:
        """Run ``function(*args)`` in a thread.

        Args:
            function: Writes a file.
            args: Its arguments.
            most_waiting: If so many writes wait already (they hold images in memory), the oldest is waited for first.
        """
        while len(self._waiting) >= most_waiting:
            self._waiting.popleft().result()
        future = self._pool.submit(function, *args)
        self._waiting.append(future)
        self._group.append(future)

    def end_group(self, done: Callable[[], None]) -> None:
        """End the group of writes since the last call; ``done`` is called once all of them have been written."""
        self._groups.append((self._group, done))
        self._group = []
        while self._groups and all(future.done() for future in self._groups[0][0]):
            self._settle()

    def _settle(self) -> None:
        futures, done = self._groups.popleft()
        for future in futures:
            future.result()
        done()

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True)
        failed: BaseException | None = None
        while self._groups:
            try:
                self._settle()
            except Exception as failure:
                failed = failed or failure
        if error is None and failed is not None:
            raise failed
