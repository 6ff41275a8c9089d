"""Train the compared systems, each by its own losses, in BasicSR's loop."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from basicsr.archs import build_network
from basicsr.losses import build_loss
from torch import Tensor, nn

from tim_plugin.models.optimisation import Part, require_finite
from tim_plugin.models.sampling_model import SamplingModel
from tim_plugin.options.checks import check_options
from tim_plugin.utils.errors import TimError, did_you_mean
from tim_plugin.utils.seeds import keyed_generator
from tim_plugin.utils.trees import split

OPTIMIZERS = ("Adam", "AdamW", "SGD", "Adadelta")


class BaselineModel(SamplingModel):
    """Train a network by the losses it brings, or by ``pixel_opt`` and ``perceptual_opt`` as SRModel does.

    A network that trains in its own way has ``losses(lq, gt, distance) -> {name: scalar}``; ``distance`` is
    ``perceptual_opt``'s. One that draws noise for them has a further argument ``generator``, which depends on seed and
    iteration alone, so that a resumed run draws the same. A network that gives several samples has ``sample``
    (see :func:`tim_plugin.inference.image_samples.one_pass`).

    Args:
        opt: BasicSR's options.

    Raises:
        TimError: An option is wrong.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        check_options(opt, "BaselineModel")
        super().__init__(opt)

    def init_training_settings(self) -> None:
        """Build EMA, losses, optimizer and scheduler as SRModel does; a network with its own losses needs none.

        Raises:
            TimError: There is nothing to train by.
        """
        self.net_g.train()
        train = self.opt["train"]
        self.ema_decay = train.get("ema_decay", 0)
        if self.ema_decay > 0:
            self.net_g_ema = build_network(self.opt["network_g"]).to(self.device)
            path = self.opt["path"].get("pretrain_network_g")  # on resuming, the checkpoint of the state
            if path is None:
                self.model_ema(0)
            else:
                self.load_network(self.net_g_ema, path, self.opt["path"].get("strict_load_g", True), "params_ema")
            self.net_g_ema.eval()
        self.cri_pix, self.cri_perceptual = (
            build_loss(train[key]).to(self.device) if train.get(key) else None
            for key in ("pixel_opt", "perceptual_opt")
        )
        self.distance = getattr(self.cri_perceptual, "distance", None)
        self.own_losses = getattr(self.get_bare_model(self.net_g), "losses", None)
        if self.own_losses is not None and self.opt["dist"]:
            raise TimError(f"--launcher: {self.opt['network_g']['type']} is trained in one process; leave it out")
        if self.own_losses is None and self.cri_pix is None and self.cri_perceptual is None:
            raise TimError("train: pixel_opt or perceptual_opt is missing: the network has no losses of its own")
        if self.own_losses is not None and self.cri_pix is not None:
            raise TimError(f"train: pixel_opt: {self.opt['network_g']['type']} has losses of its own: leave it out")
        self.draws = self.own_losses is not None and "generator" in inspect.signature(self.own_losses).parameters
        self._check_parts()
        self.setup_optimizers()
        self.setup_schedulers()

    def model_ema(self, decay: float = 0.999) -> None:
        """Average the parameters as BasicSR does, and copy the buffers (batch norm's statistics), which it forgets."""
        super().model_ema(decay)
        for own, current in zip(self.net_g_ema.buffers(), self.get_bare_model(self.net_g).buffers(), strict=True):
            own.copy_(current)

    def build_optimizer(self, optim_type: str, params: Iterable[nn.Parameter], lr: float, **kwargs: Any) -> Any:
        """Build one of :data:`OPTIMIZERS`; BasicSR knows Adam only.

        Raises:
            TimError: It is another.
        """
        if optim_type not in OPTIMIZERS:
            raise TimError(f"train: optim_g: type {optim_type!r} is not known: {did_you_mean(optim_type, OPTIMIZERS)}")
        return getattr(torch.optim, optim_type)(params, lr, **kwargs)

    def optimize_parameters(self, current_iter: int) -> None:
        """Take one optimizer step.

        Raises:
            NonFiniteError: The loss or the gradient is NaN or infinite; the weights are as before the step.
        """
        self.take_step(current_iter, self._parts(current_iter))

    def _parts(self, current_iter: int) -> list[Part]:
        self.drawing = {}
        if self.draws:
            key = ("losses", self.opt["manual_seed"], self.opt["rank"], current_iter)
            self.drawing = {"generator": keyed_generator(*key, device=self.device)}
        size, total = -(-len(self.lq) // self.train_spec.accumulate), len(self.lq)
        parts = zip(*(split(tensor, size, total) for tensor in (self.lq, self.gt)), strict=True)
        return [Part(len(lq) / total, partial(self._finite_losses, lq, gt)) for lq, gt in parts]

    def _finite_losses(self, lq: Tensor, gt: Tensor) -> dict[str, Tensor]:
        losses = self._losses(lq, gt)
        require_finite("the loss", torch.stack(tuple(losses.values())).sum())
        return losses

    def _losses(self, lq: Tensor, gt: Tensor) -> dict[str, Tensor]:
        if self.own_losses is not None:
            with self.step.autocast():
                return self.own_losses(lq, gt, self.distance, **self.drawing)
        with self.step.autocast():
            output = self.net_g(lq)
        self.output = output.to(gt.dtype)
        losses = {} if self.cri_pix is None else {"l_pix": self.cri_pix(self.output, gt)}
        if self.cri_perceptual is not None:
            perceptual, style = self.cri_perceptual(self.output, gt)
            losses |= {k: v for k, v in (("l_percep", perceptual), ("l_style", style)) if v is not None}
        return losses

    def _check_parts(self) -> None:
        """Refuse to split a batch whose losses are no means over its items.

        Raises:
            TimError: They are not, by what is known of them.
        """
        if self.train_spec.accumulate == 1:
            return
        train = self.opt["train"]
        sums = [key for key in ("pixel_opt", "perceptual_opt") if (train.get(key) or {}).get("reduction") == "sum"]
        norms = [type(m).__name__ for m in self.net_g.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        reason = (
            (norms and f"{norms[0]} sees a part of it only")
            or (self.own_losses is not None and "the losses are the network's own")
            or (sums and f"{sums[0]} has reduction: sum")
        )
        if reason:
            raise TimError(f"train: accumulate: a split batch would not be the whole one: {reason}; use accumulate: 1")
