"""BasicSR's own training and test loops, run with some of their parts replaced by ours.

``basicsr.train.train_pipeline`` runs unchanged; for the time of the call these names of its module are ours: the
options (:mod:`tim_plugin.options.option_file`), the sampler (each crop keyed by seed, epoch and index; a resumed run
goes on at the batch where it stopped), the check that an epoch holds a batch at all, a wait for the process that makes
the folders, and a progress bar.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import basicsr.test
import basicsr.train
from basicsr.utils.logger import initialized_logger

from tim_plugin.compat import load_resume_state
from tim_plugin.data.keyed_sampler import KeyedSampler
from tim_plugin.data.workers import answer_no_signals
from tim_plugin.models.interruption import Interruption
from tim_plugin.models.progress import show_progress
from tim_plugin.options.option_file import parse_options
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.processes import barrier

Observer = Callable[[int, Mapping[str, float]], None]


def train_pipeline(root_path: str, argv: list[str] | None = None, on_step: Observer | None = None) -> dict[str, Any]:
    """Train as ``python basicsr/train.py`` does; after Ctrl-C or SIGTERM the iteration is finished and saved first.

    Args:
        root_path: Results go to ``root_path/experiments/NAME``.
        argv: Arguments; None takes ``sys.argv``.
        on_step: Called after each iteration with its number and what it logs.

    Returns:
        All options of the run; ``path`` has its folders.

    Raises:
        TimError: An option, a folder or a file is wrong.
        NonFiniteError: A loss became NaN or infinite.
        Interrupted: By Ctrl-C or SIGTERM; it says what was saved.
    """
    resumed: dict[str, int] = {}
    interruption = Interruption()
    original = basicsr.train.create_train_val_dataloader
    with (
        _own_log_file(),
        _replaced(
            basicsr.train,
            parse_options=partial(parse_options, argv=argv),
            load_resume_state=partial(_load_resume_state, resumed),
            EnlargedSampler=KeyedSampler,
            make_exp_dirs=partial(_make_folders, basicsr.train.make_exp_dirs),
            create_train_val_dataloader=partial(_create_dataloaders, original, resumed, interruption),
            build_model=partial(_build_model, basicsr.train.build_model, resumed, interruption, on_step),
        ),
    ):
        interruption.guard(partial(basicsr.train.train_pipeline, root_path))
    return interruption.opt


def test_pipeline(root_path: str, argv: list[str] | None = None) -> dict[str, Any]:
    """Test as ``python basicsr/test.py`` does; results go to ``root_path/results/NAME``.

    Returns:
        All options of the run; ``path`` has its folders.
    """
    found: list[dict[str, Any]] = []

    def parse(*args: Any, **options: Any) -> tuple:
        opt, arguments = parse_options(*args, **options, argv=argv)
        found.append(opt)
        return opt, arguments

    with _own_log_file(), _replaced(basicsr.test, parse_options=parse):
        basicsr.test.test_pipeline(root_path)
    return found[0]


@contextmanager
def _own_log_file() -> Iterator[None]:
    """BasicSR opens one log file a process; a second run in the same one would be logged in the first one's folder."""
    logger = logging.getLogger("basicsr")
    try:
        yield
    finally:
        initialized_logger.clear()
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
            handler.close()


@contextmanager
def _replaced(module: Any, **names: Any) -> Iterator[None]:
    kept = {name: getattr(module, name) for name in names}
    try:
        for name, value in names.items():
            setattr(module, name, value)
        yield
    finally:
        for name, value in kept.items():
            setattr(module, name, value)


def _load_resume_state(resumed: dict[str, int], opt: dict[str, Any]) -> dict[str, Any] | None:
    # BasicSR's loop has put the root there, for the folder tb_logger alone: it lies beside the folder of experiments
    opt["root_path"] = str(Path(opt["path"]["experiments_root"]).parents[1])
    state = load_resume_state(opt)
    if state is not None:
        resumed.update(epoch=state["epoch"], iter=state["iter"])
    return state


def _make_folders(original: Callable, opt: dict[str, Any]) -> None:
    original(opt)  # rank 0 makes them, and moves those of an earlier run away
    barrier()


def _create_dataloaders(
    original: Callable, resumed: dict[str, int], interruption: Interruption, opt: dict[str, Any], logger: Any
) -> tuple:
    train_loader, sampler, val_loaders, _, total_iters = original(opt, logger)
    if len(train_loader) == 0:
        dataset = opt["datasets"]["train"]
        images, batch = len(train_loader.dataset), train_loader.batch_size * opt["world_size"]
        ratio = dataset.get("dataset_enlarge_ratio", 1)
        raise TimError(
            f"datasets: train: {images} images (dataset_enlarge_ratio {ratio}) do not fill one batch of {batch}: "
            f"use dataset_enlarge_ratio: {math.ceil(batch / max(images, 1)) * 10}, or a smaller batch_size_per_gpu"
        )
    if resumed:
        done_batches = resumed["iter"] - resumed["epoch"] * len(train_loader)
        sampler.skip(resumed["epoch"], max(done_batches, 0) * train_loader.batch_size)
    train_loader.worker_init_fn = partial(_start_loader, train_loader.worker_init_fn)
    interruption.batches_per_epoch = len(train_loader)
    # BasicSR counts the last, incomplete batch, which its loader drops: small data would end too early. Its loop
    # runs to this epoch inclusive; one more would only move the iteration's number in the names of the last images.
    last_epoch = math.ceil(total_iters / len(train_loader)) - 1
    return train_loader, sampler, val_loaders, last_epoch, total_iters


def _start_loader(seed: Callable[[int], None] | None, index: int) -> None:
    answer_no_signals()
    if seed is not None:
        seed(index)


def _build_model(
    original: Callable,
    resumed: dict[str, int],
    interruption: Interruption,
    on_step: Observer | None,
    opt: dict[str, Any],
) -> Any:
    model = original(opt)
    observers = [on_step] if on_step is not None else []
    if opt["logger"].get("progress_bar") and opt["rank"] == 0:
        observers.append(show_progress(opt["name"], int(opt["train"]["total_iter"]), resumed.get("iter", 0)))
    if observers and hasattr(model, "on_step"):  # BasicSR's own models have none
        model.on_step = lambda *step: [observer(*step) for observer in observers]
    interruption.watch(model, opt)
    return model
