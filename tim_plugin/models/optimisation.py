"""One optimizer step: parts of a batch, half precision with a loss scale, clipping, and no step into NaN."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import NamedTuple

import torch
from basicsr.utils import get_root_logger
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tim_plugin.models.distributed import full
from tim_plugin.options.schema import TrainSpec
from tim_plugin.utils.errors import NonFiniteError, TimError
from tim_plugin.utils.memory import in_memory

DTYPES = {"off": None, "bf16": torch.bfloat16, "fp16": torch.float16}
# The loss scale starts at 2**16 and is halved with each skipped step: after so many it is not the scale that is wrong.
MOST_SKIPPED = 20


class Part(NamedTuple):
    """A part of a batch.

    Attributes:
        share: Of the batch; the parts' shares sum to 1.
        losses: Computes its losses, each a mean over the part's items.
    """

    share: float
    losses: Callable[[], dict[str, Tensor]]


class OptimizerStep:
    """Takes steps as :class:`tim_plugin.options.schema.TrainSpec` says; with its defaults a plain backward and step.

    Args:
        spec: Precision and clipping.
        network: Its parameters are trained; maybe wrapped for several processes.
        optimizer: Of these parameters.
        device: The network's.

    Attributes:
        logged: What the last step has to be logged for: ``grad_norm`` if it is clipped, ``loss_scale`` in fp16.
    """

    def __init__(
        self, spec: TrainSpec, network: nn.Module, optimizer: torch.optim.Optimizer, device: torch.device
    ) -> None:
        self.spec, self.network, self.optimizer, self.device = spec, network, optimizer, device
        self.scaler = torch.amp.GradScaler(device.type, enabled=spec.amp == "fp16")
        self.skipped = 0
        self.logged: dict[str, float] = {}

    def autocast(self) -> AbstractContextManager:
        """Return the context in which the network runs."""
        dtype = DTYPES[self.spec.amp]
        return nullcontext() if dtype is None else torch.autocast(self.device.type, dtype)

    def gradients(self, parts: Sequence[Part]) -> dict[str, Tensor]:
        """Add the gradient of the batch, part by part, to what the parameters have.

        Returns:
            ``l_total`` and the losses, of the whole batch.

        Raises:
            TimError: A part does not fit in memory; the weights are as before the step.
        """
        whole: dict[str, Tensor] = {}
        for index, part in enumerate(parts):
            with self._between_processes(index == len(parts) - 1):
                losses = in_memory(partial(self._gradient, part))
            if losses is None:
                raise TimError(
                    f"training on 1 / {len(parts)} of the batch does not fit in memory: raise train: accumulate, "
                    "set train: checkpoint_levels: true, or lower datasets: train: batch_size_per_gpu or gt_size. The "
                    "weights are as they were before this iteration; the last checkpoint can be resumed"
                )
            for name, loss in losses.items():
                whole[name] = whole[name] + loss if name in whole else loss
        return whole

    def _gradient(self, part: Part) -> dict[str, Tensor]:
        """Add a part's gradient; return its share of ``l_total`` and of the losses."""
        losses = part.losses()
        total = torch.stack(tuple(losses.values())).sum()
        self.scaler.scale(total * part.share).backward()
        return {name: loss.detach() * part.share for name, loss in {"l_total": total, **losses}.items()}

    def apply(self, iteration: int) -> bool:
        """Take the step by the gradients, and tell whether it was taken: in fp16 one that overflows is skipped.

        Raises:
            NonFiniteError: The gradient is NaN or infinite; in fp16, after :data:`MOST_SKIPPED` skipped steps. The
                weights are as before.
        """
        self.scaler.unscale_(self.optimizer)
        parameters = [p for p in self.network.parameters() if p.grad is not None]
        norm = full(nn.utils.get_total_norm([p.grad for p in parameters]))
        if not self.scaler.is_enabled():
            require_finite("the gradient", norm)
        taken = bool(torch.isfinite(norm))
        self.logged = {}
        if taken:
            self.skipped = 0
            if self.spec.clip_grad_norm is not None:
                nn.utils.clip_grads_with_norm_(parameters, self.spec.clip_grad_norm, norm)
                self.logged["grad_norm"] = float(norm)
            self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.scaler.is_enabled():
            self.logged["loss_scale"] = self.scaler.get_scale()
        if not taken:
            self._skip(iteration)
        return taken

    def _skip(self, iteration: int) -> None:
        self.skipped += 1
        if self.skipped >= MOST_SKIPPED:
            raise NonFiniteError(
                f"the gradient is NaN or infinite in half precision, and so it was in the {MOST_SKIPPED - 1} steps "
                "before; use train: amp: bf16, or off"
            )
        get_root_logger().warning(
            f"Iteration {iteration}: the gradient is too large for half precision; the step is skipped "
            f"({self.skipped} in a row), the loss scale is now {self.scaler.get_scale():g}."
        )

    def _between_processes(self, last: bool) -> AbstractContextManager:
        """Average the gradients over the processes once, with the last part."""
        if last or not isinstance(self.network, DistributedDataParallel):
            return nullcontext()
        return self.network.no_sync()


def require_finite(what: str, value: Tensor) -> None:
    """Raise NonFiniteError, which names it, for a value that is NaN or infinite."""
    if not torch.isfinite(value).all():
        raise NonFiniteError(f"{what} is {float(value.detach())}")
