"""Processes that a command starts to work for it: signals to all of them are the main process's alone to answer.

A terminal sends Ctrl-C to a whole group of processes, and so do ``timeout``, Slurm and systemd with SIGTERM. The main
process then finishes and saves what it is at, for which it still needs the others; it ends them itself.
"""

from __future__ import annotations

import copy
import multiprocessing
import signal
from multiprocessing.context import BaseContext, SpawnProcess

from tim_plugin.utils.processes import left_to_this_process

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class _LeavesSignals:
    """Starts a process with these signals blocked, from its first instruction on.

    ``terminate``, which multiprocessing and torch's loaders use for one that is stuck or left over at the end, sends
    SIGTERM and then waits. So it is ``kill`` here.
    """

    def start(self) -> None:
        with left_to_this_process(*SIGNALS):
            super().start()
        self._popen.terminate = self._popen.kill


class Child(_LeavesSignals, multiprocessing.Process):
    """A process of the default way of starting them."""


class SpawnedChild(_LeavesSignals, SpawnProcess):
    """A process with an interpreter of its own."""


def context_of_children() -> BaseContext:
    """Return multiprocessing's default context, whose processes (and pools' workers) are :class:`Child`."""
    context = copy.copy(multiprocessing.get_context())
    context.Process = Child
    return context


def leave_signals() -> None:
    """To be called first in a child: it has the main process's handlers, and Windows cannot block signals."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
