"""A process that searches the next pool while this one trains on the current one (``imle: search_ahead``)."""

from __future__ import annotations

import io
import weakref
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.multiprocessing import get_context

from tim_plugin.imle.latents import Latents
from tim_plugin.imle.pool import Batch
from tim_plugin.models.pool_search import Found, PoolSearch
from tim_plugin.options.schema import ImleSpec
from tim_plugin.utils.children import SpawnedChild, leave_signals
from tim_plugin.utils.errors import NonFiniteError, TimError
from tim_plugin.utils.networks import network_of
from tim_plugin.utils.trees import move


class Setting(NamedTuple):
    """What the other process needs once.

    Attributes:
        network: The ``network_g`` section.
        distance: Of the search; the process has a copy.
        imle: How is searched.
        seed: Of the candidates.
        rank: Likewise.
        device: Where is searched.
        dtype: Of autocast; None: none.
        threads: Of the process.
    """

    network: Mapping[str, Any]
    distance: nn.Module
    imle: ImleSpec
    seed: int
    rank: int
    device: torch.device
    dtype: torch.dtype | None
    threads: int


class AheadSearch:
    """Starts the process; one search at a time.

    Args:
        setting: What it needs.
    """

    def __init__(self, setting: Setting) -> None:
        self._end, theirs = get_context("spawn").Pipe()
        process = SpawnedChild(target=_serve, args=(theirs, setting), daemon=True)
        process.start()
        theirs.close()  # so that the end of the process is seen
        weakref.finalize(self, _stop, self._end, process)

    def start(self, weights: Mapping[str, Tensor], batch: Batch, iteration: int) -> Callable[[], Found]:
        """Search with these weights; what is returned waits for the result, to be called once.

        Args:
            weights: State dict of the network; copied.
            batch: The examples.
            iteration: Of the candidates.

        Raises:
            TimError: The process has ended; of the function also what went wrong in it.
        """
        self._guarded(self._end.send_bytes, _packed([move(dict(weights), "cpu"), move(batch, "cpu"), iteration]))
        return self._result

    def _result(self) -> Found:
        reply = _unpacked(self._guarded(self._end.recv_bytes))
        if "error" in reply:
            raise (NonFiniteError if reply["is_not_finite"] else TimError)(f"imle: search_ahead: {reply['error']}")
        return Found(Latents.from_state_dict(reply["latents"]), reply["distance"])

    @staticmethod
    def _guarded(function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except (EOFError, OSError) as error:
            raise TimError(
                "imle: search_ahead: the process that searches has ended (killed, or out of memory? what it printed is "
                "above): use search_ahead: false, or a smaller max_candidates_per_batch"
            ) from error


def _stop(end: Connection, process: Any) -> None:
    end.close()
    process.terminate()
    process.join()


def _serve(end: Connection, setting: Setting) -> None:
    """Search what is sent until the other end closes."""
    leave_signals()
    torch.set_num_threads(setting.threads)
    tower = network_of(setting.network).requires_grad_(False).to(setting.device)
    search = PoolSearch(tower, setting.distance.to(setting.device), setting.imle, setting.seed, setting.rank)
    precision = nullcontext() if setting.dtype is None else torch.autocast(setting.device.type, setting.dtype)
    while True:
        try:
            weights, batch, iteration = _unpacked(end.recv_bytes())
        except EOFError:
            return
        try:
            tower.load_state_dict(weights)
            pyramids = search.pyramids(move(batch, setting.device))
            with precision:
                found = search(pyramids, iteration)
            reply = {"latents": found.latents.state_dict(), "distance": found.distance}
        except (TimError, NonFiniteError) as error:
            reply = {"error": str(error), "is_not_finite": isinstance(error, NonFiniteError)}
        try:
            end.send_bytes(_packed(reply))
        except OSError:
            return  # nobody waits for it any more


def _packed(message: Any) -> bytes:
    """Bytes, and no shared memory: what is sent must stay as it is while its sender trains on."""
    buffer = io.BytesIO()
    torch.save(message, buffer)
    return buffer.getvalue()


def _unpacked(content: bytes) -> Any:
    return torch.load(io.BytesIO(content), weights_only=True)
