"""Runs cases that damage something, and counts how the program takes each: it works, refuses, or fails.

A suite is a function of (folder, number, seed) that yields cases; ``__main__`` lists them. A case runs the program's
own code and returns ``accepted`` or raises. TimError and NonFiniteError of one line are refusals. Anything else is a
failure: a traceback, a hang (an alarm), or what the case reports: :class:`Silent` nonsense, or an :class:`Unclear`
refusal.
"""

from __future__ import annotations

import signal
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tim_plugin.utils.errors import NonFiniteError, TimError

SECONDS = 60  # a case takes a second or two; a shared machine may be ten times slower
FAILURES = ("traceback", "hang", "silent", "unclear")


class Case(NamedTuple):
    """One damaged thing: what was done to it, and what runs it."""

    label: str
    run: Callable[[], str]


Suite = Callable[[Path, int, int], Iterable[Case]]


class Silent(Exception):
    """Nonsense was taken without a word."""


class Unclear(Exception):
    """A refusal does not say what it is about."""


class Hang(BaseException):
    """A case took too long; no ``except Exception`` may catch this."""


class Report(NamedTuple):
    """How often each outcome was, and what failed."""

    counts: Counter
    failures: list[str]

    def __str__(self) -> str:
        return ", ".join(f"{count} {outcome}" for outcome, count in sorted(self.counts.items()))


@contextmanager
def alarm(seconds: int) -> Iterator[None]:
    """Raise :class:`Hang` where the body takes longer."""

    def ring(number: int, frame: object) -> None:
        raise Hang(f"longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def outcome_of(case: Case) -> tuple[str, str]:
    """Run a case; return what became of it, and what is to be said of it."""
    try:
        with alarm(SECONDS):
            return case.run(), ""
    except (TimError, NonFiniteError) as error:
        unclear = "\n" in str(error) or not str(error).strip()
        return ("unclear" if unclear else "refused"), str(error)
    except (Silent, Unclear) as error:
        return type(error).__name__.lower(), str(error)
    except Hang as error:
        return "hang", f"{error}\n{traceback.format_exc(limit=-4)}"
    except Exception as error:
        return "traceback", "".join(traceback.format_exception(error, limit=-4))


def run(cases: Iterable[Case], show: Callable[[str], None] = lambda line: None) -> Report:
    """Run the cases one after the other."""
    counts, failures = Counter(), []
    for case in cases:
        outcome, text = outcome_of(case)
        counts[outcome] += 1
        if outcome in FAILURES:
            failures.append(f"{outcome}: {case.label}\n{text}")
            show(failures[-1])
        else:
            show(f"{outcome}: {case.label}: {text}")
    return Report(counts, failures)
