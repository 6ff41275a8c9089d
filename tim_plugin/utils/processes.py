"""Several processes of one run: how they start, agree, and end together with one message."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from basicsr.utils.dist_util import get_dist_info, init_dist
from torch import distributed

from tim_plugin.utils.errors import TimError

COMMAND = "torchrun --nproc_per_node={} tools/train.py -opt FILE --launcher pytorch"
GONE = "another process of this run has ended without a message (killed, or out of memory?)"
GOES_ON = "what was written stays: the same command with --auto_resume goes on"
LOST = f"{GONE}; {GOES_ON}"
ENDED = f"ended by the launcher: {GONE}, or the launcher itself was told to end; {GOES_ON}"


class EndedByLauncher(SystemExit):
    """The launcher sent SIGTERM, as it does to all when it sees that one has ended."""


@contextmanager
def heeding_launcher() -> Iterator[None]:
    """Turn SIGTERM into :class:`EndedByLauncher` where a launcher has started several processes.

    A launcher may see that a process was killed before the others do: they would end without a word.
    """
    if not who() or threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: object) -> None:
        raise EndedByLauncher(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def start_processes(opt: Mapping[str, Any], launcher: str) -> tuple[int, int]:
    """Join the processes that a launcher has started: NCCL on GPUs, gloo without (or with ``num_gpu: 0``).

    Returns:
        Rank and number of processes; (0, 1) without a launcher.

    Raises:
        TimError: There is no launcher that said who is who, or there are more processes than GPUs.
    """
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


def same_for_all(value: Any) -> Any:
    """Return what rank 0 has."""
    values = [value]
    if distributed.is_initialized():
        distributed.broadcast_object_list(values, src=0)
    return values[0]


def wait_for_all() -> None:
    """Return when every process has come here."""
    if distributed.is_initialized():
        distributed.barrier()


def who() -> str:
    """Return how this process is called in errors: ``rank 1:`` and a space, or nothing where there is one process."""
    return f"rank {os.environ['RANK']}: " if int(os.environ.get("WORLD_SIZE", 1)) > 1 else ""


def is_first_to_fail() -> bool:
    """Tell whether this process is to say why the run ends, so that one message is seen and not one a process."""
    if not who():
        return True
    if not distributed.is_initialized():  # all find the same mistake in the options
        return os.environ.get("LOCAL_RANK", "0") == "0"
    try:
        return distributed.distributed_c10d._get_default_store().add("tim_plugin/failed", 1) == 1
    except Exception:  # the store went with the process that kept it
        return True


def is_lost(error: Exception) -> bool:
    """Tell whether an error says that another process is gone."""
    text = str(error).lower()
    return distributed.is_initialized() and (
        isinstance(error, distributed.DistError)
        or any(part in text for part in ("connection closed", "connection reset", "broken pipe", "gloo", "nccl"))
    )
