"""A progress bar for training: iteration, loss, distance of the selected candidate, time left."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from tqdm import tqdm


def show_progress(name: str, total_iters: int, start_iter: int = 0) -> Callable[[int, Mapping[str, float]], None]:
    """Open a bar and return the function that moves it; BasicSR's log lines then go to its log file only.

    Args:
        name: Shown in front.
        total_iters: End of the bar.
        start_iter: Where a resumed run begins.

    Returns:
        A function of the iteration and what it logs: ``l_total``, and maybe ``d_selected``.
    """
    _log_to_file_only()
    bar = tqdm(
        total=total_iters,
        initial=start_iter,
        desc=name,
        unit="it",
        mininterval=1.0,
        dynamic_ncols=True,
        bar_format="{desc}: {n_fmt}/{total_fmt} {bar} {postfix}, {rate_fmt}, {remaining} left",
    )

    def step(current_iter: int, log: Mapping[str, float]) -> None:
        selected = f", selected distance {log['d_selected']:.4f}" if "d_selected" in log else ""
        bar.set_postfix_str(f"loss {log['l_total']:.4f}{selected}", refresh=False)
        bar.update(current_iter - bar.n)
        if current_iter >= total_iters:
            bar.close()

    return step


def _log_to_file_only() -> None:
    logger = logging.getLogger("basicsr")
    for handler in list(logger.handlers):
        if type(handler) is logging.StreamHandler:
            logger.removeHandler(handler)
