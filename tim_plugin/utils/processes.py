"""Distributed training: how the processes of a run join, share values, and end together with one message."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import Any

import torch
from torch import distributed

from tim_plugin.utils.errors import TimError

COMMAND = "torchrun --nproc_per_node={} tools/train.py -opt FILE --launcher pytorch"
ONE_GPU_A_PROCESS = ("TIMModel", "EnergyScoreModel", "BaselineModel")  # BasicSR's own spread a batch over several
_GONE = "another process of this run has ended without a message (killed, or out of memory?)"
_GOES_ON = "what was written stays: the same command with --auto_resume goes on"
LOST = f"{_GONE}; {_GOES_ON}"
ENDED = f"ended by the launcher: {_GONE}, or the launcher itself was told to end; {_GOES_ON}"


class EndedByLauncher(SystemExit):
    """The launcher (torchrun) sent SIGTERM, as it does to every process when it sees that one of them has ended."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM ended a command.

    Args:
        number: The signal; a command's exit status is 128 more.
        where: At which iteration a training run stopped, and what was saved; empty for what has no iterations.
    """

    def __init__(self, number: int, where: str = "") -> None:
        super().__init__(f"interrupted {where}".rstrip())
        self.signal, self.where = number, where


@contextmanager
def raising_on_sigterm() -> Iterator[None]:
    """Raise :class:`Interrupted` on SIGTERM, so that workers end with their command.

    Where a launcher has started several processes it is :class:`EndedByLauncher`: a launcher may see that a process was
    killed before the other processes do; they would end without a message.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: object) -> None:
        raise EndedByLauncher(128 + number) if rank_prefix() else Interrupted(number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def left_to_this_process(*numbers: int) -> Iterator[None]:
    """Start processes in here: these signals, which may be sent to all of them, are this process's alone to answer.

    They are blocked meanwhile, which a new process inherits, from its first instruction on; here they come late.

    Args:
        numbers: SIGINT, which a terminal's Ctrl-C sends; SIGTERM, which schedulers send.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # else it is started with the first process, and then lets signals through
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def join_processes(opt: Mapping[str, Any], launcher: str) -> tuple[int, int]:
    """Set up communication between the processes of a launcher: NCCL on GPUs, gloo without (or with ``num_gpu: 0``).

    Args:
        opt: All options of the run; read here: ``num_gpu``, ``dist_params``.
        launcher: ``none``, ``pytorch`` (torchrun) or ``slurm``.

    Returns:
        Rank and number of processes; (0, 1) without a launcher.

    Raises:
        TimError: No launcher has set the processes' ranks, or there are more processes than GPUs.
    """
    from basicsr.utils.dist_util import get_dist_info, init_dist  # here: ``utils`` is imported before BasicSR

    if launcher != "none" and not distributed.is_initialized():
        if torch.cuda.is_available() and opt.get("num_gpu") != 0:
            local, gpus = int(os.environ.get("LOCAL_WORLD_SIZE", 1)), torch.cuda.device_count()
            if local > gpus:
                raise TimError(
                    f"--launcher {launcher}: {local} processes on a machine with {gpus} GPUs: start {gpus} "
                    f"({COMMAND.format(gpus)}), or use num_gpu: 0 for the CPU"
                )
            init_dist(launcher, **(opt.get("dist_params") or {} if launcher == "slurm" else {}))
        elif "RANK" not in os.environ:
            raise TimError(
                f"--launcher {launcher}: without CUDA the processes are started by torchrun: {COMMAND.format('N')}"
            )
        else:
            distributed.init_process_group("gloo")
    return get_dist_info()


def set_up(opt: dict[str, Any], launcher: str) -> None:
    """Join the other processes, choose the devices, seed, and write all of it into the options.

    Raises:
        TimError: The machine has not got what the options ask for.
    """
    from basicsr.utils import set_random_seed  # here, as above

    opt["rank"], opt["world_size"] = join_processes(opt, launcher)
    _choose_devices(opt)
    if opt.get("manual_seed") is None:
        opt["manual_seed"] = 0  # BasicSR draws one, and a resumed run another
    set_random_seed(opt["manual_seed"] + opt["rank"])


def _choose_devices(opt: dict[str, Any]) -> None:
    available, wanted = torch.cuda.device_count(), opt.get("num_gpu", "auto")
    if wanted == "auto":
        wanted = available if opt["dist"] else min(available, 1)
    if isinstance(wanted, bool) or not isinstance(wanted, int) or wanted < 0:
        raise TimError(f"num_gpu must be auto, 0 (CPU) or a number of GPUs, not {wanted!r}")
    require_gpus(wanted)
    if wanted > 1 and not opt["dist"] and opt.get("model_type") in ONE_GPU_A_PROCESS:
        raise TimError(f"num_gpu: {wanted} needs a process for each GPU: {COMMAND.format(wanted)}; or use num_gpu: 1")
    opt["num_gpu"] = wanted
    for phase, dataset in opt["datasets"].items():
        if dataset.get("prefetch_mode") == "cuda" and wanted == 0:
            raise TimError(f"datasets: {phase}: prefetch_mode 'cuda' copies to a GPU, and there is none: use cpu, or ~")


def require_gpus(wanted: int) -> None:
    """Raise TimError where a machine has fewer GPUs than ``num_gpu`` asks for."""
    available = torch.cuda.device_count()
    if wanted > available:
        raise TimError(
            f"num_gpu: {wanted}, but this machine has {available} CUDA devices: use num_gpu: auto, or 0 for the CPU"
        )


def broadcast_from_rank_0(value: Any) -> Any:
    """Return rank 0's value on every rank; ``value`` itself in a run of one process. It must be picklable."""
    values = [value]
    if distributed.is_initialized():
        distributed.broadcast_object_list(values, src=0)
    return values[0]


def agree_on_any(flag: bool) -> bool:
    """Return on every rank whether the flag of any is set; ``flag`` itself in a run of one process."""
    if not distributed.is_initialized():
        return flag
    votes = torch.tensor(int(flag), device="cuda" if distributed.get_backend() == "nccl" else "cpu")
    distributed.all_reduce(votes, distributed.ReduceOp.MAX)
    return bool(votes)


def barrier() -> None:
    """Wait until every process of the run has called this."""
    if distributed.is_initialized():
        distributed.barrier()


def rank_prefix() -> str:
    """Return what errors of this process begin with: ``rank 1:`` and a space, or nothing in a run of one process."""
    return f"rank {os.environ['RANK']}: " if int(os.environ.get("WORLD_SIZE", 1)) > 1 else ""


def is_first_to_report() -> bool:
    """Tell whether this process is the first to fail and so is to print why, so that there is one message."""
    if not rank_prefix():
        return True
    if not distributed.is_initialized():  # all find the same mistake in the options
        return os.environ.get("LOCAL_RANK", "0") == "0"
    try:
        return distributed.distributed_c10d._get_default_store().add("tim_plugin/failed", 1) == 1
    except Exception:  # the store went with the process that kept it
        return True


def is_lost_connection(error: Exception) -> bool:
    """Tell whether an error means that the connection to another process was lost."""
    text = str(error).lower()
    return distributed.is_initialized() and (
        isinstance(error, distributed.DistError)
        or any(part in text for part in ("connection closed", "connection reset", "broken pipe", "gloo", "nccl"))
    )
