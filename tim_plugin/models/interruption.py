"""Ctrl-C and SIGTERM in training: the iteration is finished, its state is saved, and then the run ends."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from basicsr.utils import get_root_logger

from tim_plugin.utils.processes import EndedByLauncher, Interrupted, agree_on_any, is_lost_connection, rank_prefix

SIGNALS = (signal.SIGINT, signal.SIGTERM)
WAIT = "\ninterrupted: this iteration is finished and saved first (once more: ends at once, and nothing is saved)\n"


class Interruption:
    """Watches a run of BasicSR's training loop for SIGINT and SIGTERM.

    The first signal waits for the end of the iteration (its search may take minutes), or, if it comes between two, of
    the next one; a validation is left where it is. A second signal ends the run at once. Several processes must leave
    at the same place: their validations are finished, and each iteration ends with a vote.
    """

    def __init__(self) -> None:
        self.model: Any = None
        self.opt: dict[str, Any] = {}
        self.batches_per_epoch = 0
        self._done_iters = 0
        self._waits = False
        self._signal: int | None = None

    def watch(self, model: Any, opt: dict[str, Any]) -> None:
        """Follow a model's iterations.

        Args:
            model: Of any of BasicSR's classes; three of its methods are wrapped.
            opt: All options of the run.
        """
        self.model, self.opt = model, opt
        begin, step, validate = model.update_learning_rate, model.optimize_parameters, model.validation

        def update_learning_rate(current_iter: int, *args: Any, **options: Any) -> None:
            self._waits = True
            begin(current_iter, *args, **options)

        def optimize_parameters(current_iter: int) -> None:
            step(current_iter)
            self._done_iters = current_iter
            if agree_on_any(self._signal is not None):
                raise Interrupted(self._signal or signal.SIGTERM)

        def validation(*args: Any, **options: Any) -> None:
            self._waits = bool(opt["dist"])
            if self._signal is not None and not self._waits:
                raise Interrupted(self._signal)
            validate(*args, **options)
            self._waits = True

        model.update_learning_rate, model.optimize_parameters = update_learning_rate, optimize_parameters
        model.validation = validation

    def guard(self, train: Callable[[], None]) -> None:
        """Run a training loop.

        Raises:
            Interrupted: By a signal; it says what was saved.
            EndedByLauncher: The launcher has sent SIGTERM because another process has ended.
        """
        with self._handling():
            try:
                train()
            except Interrupted as stop:
                raise stop if stop.where else Interrupted(stop.signal, self._save()) from None
            except RuntimeError as error:
                if self._signal != signal.SIGTERM or not is_lost_connection(error):
                    raise
                raise EndedByLauncher(128 + signal.SIGTERM) from error

    def _save(self) -> str:
        """Save the model and its state as BasicSR's loop does, and say so."""
        if self._done_iters == 0:
            return "before an iteration was done; nothing was saved"
        epoch, paths = (self._done_iters - 1) // self.batches_per_epoch, self.opt["path"]
        self.model.save(epoch, self._done_iters)
        state = Path(paths["training_states"]) / f"{self._done_iters}.state"
        said = f"at iteration {self._done_iters}, which was saved: {state}"
        get_root_logger().info(f"Interrupted {said}")
        return said

    @contextmanager
    def _handling(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():  # Python hands signals to the main thread only
            yield
            return
        before = [signal.signal(number, self._take) for number in SIGNALS]
        try:
            yield
        finally:
            for number, handler in zip(SIGNALS, before, strict=True):
                signal.signal(number, handler)

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self._signal is not None:
            raise Interrupted(number, "at once; nothing more was saved")
        self._signal = number
        if not self._waits:  # of several processes: before the first iteration
            raise EndedByLauncher(128 + number) if number == signal.SIGTERM and rank_prefix() else Interrupted(number)
        os.write(2, WAIT.encode())  # sys.stderr may be in the middle of a line
