"""What our models share: several samples for each image in validation and test, whole files, CPU processes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger
from basicsr.utils.dist_util import master_only
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from tim_plugin import checkpoints
from tim_plugin.degradations.base import Observed
from tim_plugin.errors import NonFiniteError
from tim_plugin.evaluation import Answers, Row, answer, degradation_of, evaluate, summarise
from tim_plugin.imle.trees import move
from tim_plugin.metrics.image_metrics import metrics_from_options
from tim_plugin.options import ValSpec
from tim_plugin.outputs import save_answers


class SamplingModel(SRModel):
    """BasicSR's SRModel with several samples for each image; :class:`TIMModel` and :class:`BaselineModel` train it.

    Overridden: ``feed_data`` (what projection and loss need beyond LQ and GT), ``test`` and ``nondist_validation``
    (several samples), ``model_to_device`` (CPU processes), ``save_network``, ``load_network`` and
    ``save_training_state`` (whole files).
    Inherited: networks, EMA, schedulers, warm-up, logging, best metrics, ``save``, ``dist_validation``.

    Args:
        opt: BasicSR's options with our keys of ``val``.

    Attributes:
        on_step: Called after each iteration with its number and what it logs; None calls nothing.
        distance: Measured in validation where it is not None.

    Raises:
        TimError: An option is wrong.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        self.val_spec = ValSpec.from_options(opt.get("val"))
        self.metrics = metrics_from_options((opt.get("val") or {}).get("metrics"), self.val_spec.num_samples)
        self.on_step: Callable[[int, Mapping[str, float]], None] | None = None
        self.distance = None
        super().__init__(opt)

    def feed_data(self, data: Mapping[str, Any]) -> None:
        """Take a batch with BasicSR's keys, and maybe ``given`` and ``weight`` (see DegradedImageDataset)."""
        super().feed_data(data)
        self.extra = move({key: data[key] for key in ("given", "weight") if key in data}, self.device)

    def take_step(self, current_iter: int, compute_losses: Callable[[], dict[str, Tensor]]) -> None:
        """Take one optimizer step by the sum of the losses, average the weights, and log.

        Raises:
            NonFiniteError: A loss, or the gradient, is NaN or infinite; the weights are as before the step.
        """
        self.optimizer_g.zero_grad()  # first: the old gradients need not lie beside the activations
        try:
            losses = compute_losses()
            total = torch.stack(tuple(losses.values())).sum()
            total.backward()
            gradients = [p.grad for p in self.net_g.parameters() if p.grad is not None]
            require_finite("the gradient", nn.utils.get_total_norm(gradients))
        except NonFiniteError as error:
            raise NonFiniteError(
                f"iteration {current_iter}: {error}. The weights are as they were before this iteration; resume from "
                "the last checkpoint with a lower train: optim_g: lr"
            ) from error
        self.optimizer_g.step()
        self.log_dict = self.reduce_loss_dict(OrderedDict(l_total=total, **losses))
        self.log_dict.update(self.logged())
        if self.ema_decay > 0:
            self.model_ema(decay=self.ema_decay)
        if self.on_step is not None:
            self.on_step(current_iter, self.log_dict)

    def logged(self) -> dict[str, float]:
        """Return what is logged beside the losses."""
        return {}

    # validation and test ----------------------------------------------------------------------------------------------

    def _network_for_test(self) -> nn.Module:
        return self.net_g_ema if hasattr(self, "net_g_ema") else self.get_bare_model(self.net_g)

    @contextmanager
    def _evaluating(self) -> Iterator[nn.Module]:
        """The network in eval mode (batch norm's own statistics, no dropout), and back as it was afterwards."""
        network = self._network_for_test()
        mode = network.training
        try:
            yield network.eval()
        finally:
            network.train(mode)

    def test(self) -> None:
        """Sample the image that was fed: ``self.samples`` (n, C, H, W), and the first one as ``self.output``."""
        with self._evaluating() as network:
            self.samples = answer(
                network,
                Observed(self.lq, self.extra.get("given", {})),
                self.val_spec.num_samples,
                self.val_spec.seed,
                0,
                max_samples_per_batch=self.val_spec.max_samples_per_batch,
            )
        self.output = self.samples[:1]

    def nondist_validation(self, dataloader: Any, current_iter: int | str, tb_logger: Any, save_img: bool) -> None:
        """Sample each image, save the samples and a contact sheet, and log each metric's mean and best of n.

        Files: ``visualization/IMAGE/IMAGE_ITER_s00.png`` in training, ``visualization/DATASET/IMAGE_s00.png`` in test.
        """
        dataset_name, section = dataloader.dataset.opt["name"], self.opt["val"]
        bar = tqdm(total=len(dataloader), unit="image", desc=dataset_name, disable=not section.get("pbar", False))

        def on_image(answers: Answers, row: Row) -> None:
            if save_img:
                save_answers(
                    answers,
                    *self._place(answers.name, dataset_name, current_iter),
                    with_contact_sheet=self.val_spec.contact_sheet,
                )
            bar.update()

        with self._evaluating() as network:
            rows = evaluate(
                network,
                dataloader,
                self.metrics,
                self.val_spec.num_samples,
                self.val_spec.seed,
                device=self.device,
                distance=self.distance,
                max_samples_per_batch=self.val_spec.max_samples_per_batch,
                callback=on_image,
            )
        bar.close()
        agreement = degradation_of(self._network_for_test(), dataloader.dataset).measured
        better = {name: metric.better for name, metric in self.metrics.items()} | {"distance": "lower"}
        better |= {name: measure.better for name, measure in agreement.items()}
        self.metric_results = summarise(rows, better, set(agreement))
        if self.is_train:
            self._update_best(dataset_name, current_iter, better)
        if self.metric_results:
            self._log_validation_metric_values(current_iter, dataset_name, tb_logger)

    def _place(self, name: str, dataset_name: str, current_iter: int | str) -> tuple[Path, str]:
        """Folder and stem of an image's samples."""
        root, suffix = Path(self.opt["path"]["visualization"]), self.opt["val"].get("suffix")
        stem = f"{name}_{suffix}" if suffix else name
        return (root / name, f"{stem}_{current_iter}") if self.is_train else (root / dataset_name, stem)

    def _update_best(self, dataset_name: str, current_iter: int | str, better: Mapping[str, str]) -> None:
        if not hasattr(self, "best_metric_results"):
            self.best_metric_results = {}
        records = self.best_metric_results.setdefault(dataset_name, {})
        for name, value in self.metric_results.items():
            direction = better.get(name.removesuffix("_best").removesuffix("_worst"), "higher")
            start = float("-inf") if direction == "higher" else float("inf")
            records.setdefault(name, {"better": direction, "val": start, "iter": -1})
            self._update_best_metric_result(dataset_name, name, value, current_iter)

    # networks and states ----------------------------------------------------------------------------------------------

    def model_to_device(self, net: nn.Module) -> nn.Module:
        """Move a network to the device; under a launcher wrap it, also on CPUs, which BasicSR cannot."""
        net = net.to(self.device)
        if not self.opt["dist"]:
            return net
        devices = [torch.cuda.current_device()] if self.device.type == "cuda" else None
        return DistributedDataParallel(
            net, device_ids=devices, find_unused_parameters=self.opt.get("find_unused_parameters", False)
        )

    def load_network(
        self, net: nn.Module, load_path: str, strict: bool = True, param_key: str | None = "params"
    ) -> None:
        """Load weights of any layout (flat, ``params``, ``params_ema``); a mismatch names the first differing keys."""
        checkpoint = checkpoints.read_checkpoint(load_path)
        state = checkpoints.parameters_of(checkpoint, load_path, param_key, self.get_bare_model(net))
        bare, stored = self.get_bare_model(net), checkpoint.get("network_g")
        if strict and hasattr(bare, "degradation") and isinstance(stored, Mapping):
            bare.degradation.require_same(_section(stored.get("degradation")), str(load_path))
        for line in checkpoints.load_into(bare, state, load_path, strict):
            get_root_logger().warning(f"Not loaded from {load_path}: {line}")
        get_root_logger().info(f"Loaded {net.__class__.__name__} from {load_path} [{param_key}].")

    @master_only
    def save_network(
        self, net: nn.Module | list[nn.Module], net_label: str, current_iter: int, param_key: str | list[str] = "params"
    ) -> None:
        """Write BasicSR's layout plus the network's own arguments, whole or not at all.

        Raises:
            OSError: The file cannot be written.
        """
        nets, keys = ([net], [param_key]) if not isinstance(net, list) else (net, param_key)
        content: dict[str, Any] = {
            key: {name: tensor.cpu() for name, tensor in self.get_bare_model(one).state_dict().items()}
            for one, key in zip(nets, keys, strict=True)
        }
        section = net_label.replace("net_", "network_")
        bare = self.get_bare_model(nets[0])
        portable = bare.portable() if hasattr(bare, "portable") else {}
        content[section] = _plain({**self.opt[section], **portable})
        name = f"{net_label}_{'latest' if current_iter == -1 else current_iter}.pth"
        checkpoints.save_atomically(content, Path(self.opt["path"]["models"]) / name)

    @master_only
    def save_training_state(self, epoch: int, current_iter: int) -> None:
        """Write optimizers, schedulers and :meth:`own_state`, whole or not at all; nothing for the final save (-1)."""
        if current_iter == -1:
            return
        state = {
            "epoch": epoch,
            "iter": current_iter,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "schedulers": [scheduler.state_dict() for scheduler in self.schedulers],
            **self.own_state(),
        }
        checkpoints.save_atomically(state, Path(self.opt["path"]["training_states"]) / f"{current_iter}.state")

    def own_state(self) -> dict[str, Any]:
        """Return what a resumed run needs beyond BasicSR's states, as CPU tensors and plain values."""
        return {}


def require_finite(what: str, value: Tensor) -> None:
    """Raise NonFiniteError, which names it, for a value that is NaN or infinite."""
    if not torch.isfinite(value).all():
        raise NonFiniteError(f"{what} is {float(value.detach())}")


def _section(degradation: Any) -> Mapping[str, Any]:
    return degradation if isinstance(degradation, Mapping) else {}


def _plain(options: Any) -> Any:
    """Options as plain dicts and lists, which ``weights_only`` loads."""
    if isinstance(options, Mapping):
        return {key: _plain(value) for key, value in options.items()}
    return [_plain(value) for value in options] if isinstance(options, (list, tuple)) else options
