"""Processes that a command starts: signals to all of them do not end them, and their main process does."""

from __future__ import annotations

import os
import signal
import time

import pytest

from tim_plugin.utils.children import SIGNALS, Child, SpawnedChild, leave_signals


@pytest.mark.parametrize("kind", [Child, SpawnedChild])
def test_a_child_leaves_signals_to_its_main_process_which_ends_it(kind):
    child = kind(target=time.sleep, args=(600,), daemon=True)
    child.start()
    for _ in range(3):
        for number in SIGNALS:
            os.kill(child.pid, number)
        child.join(0.3)
    assert child.is_alive()
    child.terminate()
    child.join(30)
    assert child.exitcode == -signal.SIGKILL
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()) & set(SIGNALS)


def test_a_child_has_not_got_the_handlers_of_its_main_process():
    before = [signal.getsignal(number) for number in SIGNALS]
    try:
        leave_signals()
        assert {signal.getsignal(number) for number in SIGNALS} == {signal.SIG_IGN}
    finally:
        for number, handler in zip(SIGNALS, before, strict=True):
            signal.signal(number, handler)
