"""BasicSR's own training and test loops, run with some of their parts replaced by ours.

``basicsr.train.train_pipeline`` runs unchanged; for the time of the call these names of its module are ours: the
options (:mod:`tim_plugin.options.option_file`), the sampler (each crop keyed by seed, epoch and index; a resumed run
goes on at the batch where it stopped), the check that an epoch holds a batch at all, a wait for the process that makes
the folders, and a progress bar. Data sets and networks are built before any folder is made or moved
(:mod:`tim_plugin.models.built_ahead`), and the run's folder is locked.
"""

from __future__ import annotations

import copy
import logging
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import basicsr.test
import basicsr.train
from basicsr.utils import get_root_logger
from basicsr.utils.dist_util import get_dist_info
from basicsr.utils.logger import initialized_logger

from tim_plugin.compat import load_resume_state
from tim_plugin.data.degraded_image_dataset import DegradedImageDataset
from tim_plugin.data.keyed_sampler import KeyedSampler
from tim_plugin.data.workers import leave_signals_in
from tim_plugin.models import run_logs
from tim_plugin.models.built_ahead import LOGGER, BuiltAhead
from tim_plugin.models.interruption import Interruption
from tim_plugin.models.needed_files import require_files, require_networks
from tim_plugin.models.progress import show_progress
from tim_plugin.models.validations import Validations
from tim_plugin.options.option_file import parse_options
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.folder_lock import locked
from tim_plugin.utils.processes import barrier, broadcast_from_rank_0
from tim_plugin.utils.training_states import numbered_states
from tim_plugin.utils.writing import write_atomically

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
    ahead, loop, kept, interruption = BuiltAhead(), basicsr.train, bytearray(), Interruption()
    validations = Validations()
    loaders = partial(_create_dataloaders, loop.create_train_val_dataloader, resumed, interruption)
    with (
        _own_log_file(),
        ExitStack() as lock,
        _replaced(threading, excepthook=partial(run_logs.thread_hook, threading.excepthook)),
        _replaced(
            loop,
            parse_options=partial(_parse, lock, kept, argv),
            load_resume_state=partial(_prepare_training, ahead, resumed, loaders, loop.build_model),
            EnlargedSampler=KeyedSampler,
            make_exp_dirs=partial(_make_folders, loop.make_exp_dirs),
            init_tb_loggers=partial(validations.take_board, run_logs.board, loop.init_tb_loggers),
            copy_opt_file=partial(_copy_options, kept),
            create_train_val_dataloader=partial(validations.take_loaders, ahead.hand_over("loaders")),
            build_model=partial(_build_model, ahead.hand_over("model"), resumed, validations, interruption, on_step),
        ),
    ):
        interruption.guard(partial(loop.train_pipeline, root_path))
    return interruption.opt


def test_pipeline(root_path: str, argv: list[str] | None = None) -> dict[str, Any]:
    """Test as ``python basicsr/test.py`` does; results go to ``root_path/results/NAME``.

    Returns:
        All options of the run; ``path`` has its folders.

    Raises:
        TimError: An option, a folder or a file is wrong; or images were left out, and all others are done.
    """
    ahead, loop, found = BuiltAhead(), basicsr.test, dict[str, Any]()
    functions = {name: getattr(loop, name) for name in ("build_dataset", "build_dataloader", "build_model")}
    with (
        _own_log_file(),
        ExitStack() as lock,
        _replaced(
            loop,
            parse_options=partial(_parse, lock, bytearray(), argv),
            make_exp_dirs=partial(_prepare_test, ahead, functions, loop.make_exp_dirs, found),
            **{name: ahead.hand_over(name) for name in functions},
        ),
    ):
        loop.test_pipeline(root_path)
    left_out = getattr(ahead.last["build_model"], "left_out", ())  # BasicSR's own models have none
    if left_out:
        raise TimError(
            f"{left_out[0]}; {len(left_out)} images are left out, see above, and the figures are of the others"
        )
    return found


@contextmanager
def _own_log_file() -> Iterator[None]:
    """BasicSR opens one log file a process, and none after anything was logged; each run is to have its own."""
    _end_logs()
    try:
        with _replaced(logging.FileHandler, handleError=run_logs.say_unwritable):
            yield
    finally:
        _end_logs()


def _end_logs() -> None:
    if not initialized_logger:
        return  # what a program has set up by itself
    initialized_logger.clear()
    logger = logging.getLogger("basicsr")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        run_logs.close(handler)


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


def _parse(lock: ExitStack, kept: bytearray, argv: list[str] | None, root_path: str, is_train: bool) -> tuple:
    """Read and check the options, look for the files that they name, and lock the run's folder until ``lock`` ends.

    Args:
        lock: Left at the end of the run.
        kept: Gets the option file's content, which may lie in a folder that will be moved.
        argv: Arguments; None takes ``sys.argv``.
        root_path: As BasicSR's loops give it, and the phase.
        is_train: The phase.
    """
    opt, args = parse_options(root_path, is_train, argv)
    kept += Path(args.opt).read_bytes()
    require_files(opt)
    folder, problem = opt["path"]["experiments_root" if is_train else "results_root"], None
    if opt["rank"] == 0:
        try:
            lock.enter_context(locked(folder, f"name: {opt['name']}: {folder}", beside=True))
        except TimError as error:
            problem = str(error)
    problem = broadcast_from_rank_0(problem)
    if problem is not None:
        raise TimError(problem)
    return opt, args


def _prepare_training(
    ahead: BuiltAhead, resumed: dict[str, int], loaders: Callable, build_model: Callable, opt: dict[str, Any]
) -> dict[str, Any] | None:
    """Load the state to resume from, and build all; BasicSR's loop makes and moves folders after this call."""
    # BasicSR's loop has put the root there, for the folder tb_logger alone: it lies beside the folder of experiments
    opt["root_path"] = str(Path(opt["path"]["experiments_root"]).parents[1])
    state = load_resume_state(opt)
    require_networks(opt)
    if state is not None:
        resumed["iter"] = state["iter"]
    own = copy.deepcopy(opt)  # what is built takes keys out of it, which the loop logs and shows
    ahead.build("loaders", loaders, own, logging.getLogger(LOGGER))
    ahead.build("model", _resumed, build_model, own, state)
    return state and {**state, "epoch": resumed["epoch"]}


def _resumed(build_model: Callable, opt: dict[str, Any], state: dict[str, Any] | None) -> Any:
    model = build_model(opt)
    if state is not None:
        model.resume_training(state)
        states = numbered_states(Path(opt["path"]["training_states"]))
        newer = ", ".join(str(path) for path in states if int(path.stem) > state["iter"])
        if opt["auto_resume"] and newer:
            get_root_logger().warning(f"Newer training states are damaged and passed over: {newer}")
    return model


def _prepare_test(
    ahead: BuiltAhead,
    functions: Mapping[str, Callable],
    make_folders: Callable,
    found: dict[str, Any],
    opt: dict[str, Any],
) -> None:
    """Build all, as the loop does, and then make the folders; ``found`` gets the options."""
    found.update(opt)
    own = copy.deepcopy(opt)
    for _, dataset in sorted(own["datasets"].items()):
        data = ahead.build("build_dataset", functions["build_dataset"], dataset)
        same = {"num_gpu": own["num_gpu"], "dist": own["dist"], "seed": own["manual_seed"]}
        ahead.build("build_dataloader", functions["build_dataloader"], data, dataset, sampler=None, **same)
    ahead.build("build_model", functions["build_model"], own)
    _make_folders(make_folders, opt)


def _make_folders(original: Callable, opt: dict[str, Any]) -> None:
    barrier()  # every process has built what it needs
    original(opt)  # rank 0 makes them, and moves those of an earlier run away
    barrier()


def _copy_options(content: bytearray, file: str, folder: str) -> None:
    """Copy the option file into the run's folder, below the lines that BasicSR adds, whole or not at all.

    One that lay there has gone with an earlier run, or stays; it has these lines.
    """
    if get_dist_info()[0] != 0:
        return
    for part in (folder, *(os.path.join(folder, name) for name in ("models", "training_states", "visualization"))):
        os.makedirs(part, exist_ok=True)  # of a resumed run, from which some may have been removed
    if os.path.exists(file) and Path(file).resolve().parent == Path(folder).resolve():
        return
    said = f"# GENERATE TIME: {time.asctime()}\n# CMD:\n# {' '.join(sys.argv)}\n\n" if os.path.exists(file) else ""
    write_atomically(Path(folder, os.path.basename(file)), os.fsencode(said) + bytes(content))


def _create_dataloaders(
    original: Callable, resumed: dict[str, int], interruption: Interruption, opt: dict[str, Any], logger: Any
) -> tuple:
    if opt["datasets"]["train"]["type"] == DegradedImageDataset.__name__:
        opt["datasets"]["train"].setdefault("seed", opt["manual_seed"])
    train_loader, sampler, val_loaders, _, total_iters = original(opt, logger)
    sampler.seed = opt["manual_seed"]
    if len(train_loader) == 0:
        dataset = opt["datasets"]["train"]
        images, batch = len(train_loader.dataset), train_loader.batch_size * opt["world_size"]
        ratio = dataset.get("dataset_enlarge_ratio", 1)
        raise TimError(
            f"datasets: train: {images} images (dataset_enlarge_ratio {ratio}) do not fill one batch of {batch}: "
            f"use dataset_enlarge_ratio: {math.ceil(batch / max(images, 1)) * 10}, or a smaller batch_size_per_gpu"
        )
    if resumed:
        # the state's epoch is counted in the batches that an epoch then had, and the loop's last one, below, in today's
        resumed["epoch"] = max(resumed["iter"] - 1, 0) // len(train_loader)
        done_batches = resumed["iter"] - resumed["epoch"] * len(train_loader)
        sampler.skip(resumed["epoch"], done_batches * train_loader.batch_size)
    leave_signals_in(train_loader)
    interruption.batches_per_epoch = len(train_loader)
    # BasicSR counts the last, incomplete batch, which its loader drops: small data would end too early. Its loop
    # runs to this epoch inclusive; one more would only move the iteration's number in the names of the last images.
    last_epoch = math.ceil(total_iters / len(train_loader)) - 1
    return train_loader, sampler, val_loaders, last_epoch, total_iters


def _build_model(
    original: Callable,
    resumed: dict[str, int],
    validations: Validations,
    interruption: Interruption,
    on_step: Observer | None,
    opt: dict[str, Any],
) -> Any:
    model = original(opt)
    if hasattr(model, "on_step"):  # BasicSR's own models have none: they log as ever
        observers = [on_step] if on_step is not None else []
        if opt["logger"].get("progress_bar") and opt["rank"] == 0:
            observers.append(show_progress(opt["name"], int(opt["train"]["total_iter"]), resumed.get("iter", 0)))
        if observers:
            model.on_step = lambda *step: [observer(*step) for observer in observers]
    validations.watch(model, opt)
    interruption.watch(model, opt)
    return model
