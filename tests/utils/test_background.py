"""Reading ahead and writing behind: the order is kept and no error is hidden."""

from __future__ import annotations

import threading

import pytest

from tim_plugin.utils.background import Writer, read_ahead


def test_reading_ahead_keeps_the_order_and_raises_in_turn():
    read = []
    pairs = read_ahead([1, 2, 0, 3], lambda n: read.append(n) or 6 // n)
    assert next(pairs) == (1, 6) and next(pairs) == (2, 3)
    with pytest.raises(ZeroDivisionError):
        next(pairs)
    assert 1 in read and 0 in read


def test_reading_ahead_that_is_given_up_waits_for_nothing():
    """Python may collect a generator in the midst of starting another thread, where waiting would be for ever."""
    goes_on = threading.Event()
    reading = read_ahead(range(3), lambda item: item == 0 or goes_on.wait())
    assert next(reading) == (0, True)
    closing = threading.Thread(target=reading.close, daemon=True)
    closing.start()
    closing.join(timeout=20)
    try:
        assert not closing.is_alive()
    finally:
        goes_on.set()


def test_the_writer_reports_whole_groups_and_hides_no_error():
    done, written = [], []

    def write(value):
        if value < 0:
            raise OSError("full")
        written.append(value)

    with pytest.raises(OSError, match="full"), Writer() as writer:
        writer.write(write, 1)
        writer.write(write, 2, most_waiting=1)
        writer.end_group(lambda: done.append("first"))
        writer.write(write, -1)
        writer.end_group(lambda: done.append("second"))
        writer.write(write, 3)
        writer.end_group(lambda: done.append("third"))
    assert done[0] == "first" and "second" not in done and {1, 2} <= set(written)
