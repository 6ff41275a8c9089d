"""What our models share: an optimizer step, and several samples for each image in validation and test."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from basicsr.models.lr_scheduler import MultiStepRestartLR
from torch import nn
from tqdm import tqdm

from tim_plugin.archs.levels import checkpoint_levels, compile_levels
from tim_plugin.degradations.base import Observed
from tim_plugin.inference.finishing import degradation_of
from tim_plugin.inference.image_samples import SampledImage, sample_image
from tim_plugin.inference.outputs import save_samples
from tim_plugin.metrics.image_metrics import metrics_from_options
from tim_plugin.metrics.summary import Row, summarise
from tim_plugin.metrics.validation import evaluate
from tim_plugin.models import distributed
from tim_plugin.models.optimisation import OptimizerStep, Part
from tim_plugin.models.stored_model import StoredModel
from tim_plugin.models.validations import tell_left_out
from tim_plugin.options.schema import TrainSpec, ValSpec
from tim_plugin.utils.errors import NonFiniteError, TimError
from tim_plugin.utils.memory import in_memory
from tim_plugin.utils.processes import require_gpus
from tim_plugin.utils.trees import move


class SamplingModel(StoredModel):
    """BasicSR's SRModel with several samples for each image; :class:`TowerModel` and :class:`BaselineModel` train it.

    Overridden beyond :class:`StoredModel`: ``feed_data`` (what projection and loss need beyond LQ and GT), ``test``,
    ``nondist_validation`` and ``dist_validation`` (several samples, each process its share of the images),
    ``model_to_device`` (what :class:`tim_plugin.options.schema.TrainSpec` asks for, CPU processes),
    ``setup_schedulers`` and ``get_optimizer`` (what :class:`OptimizerStep` needs, errors that name the option),
    ``update_learning_rate`` (a warm-up that reaches the rate),
    ``init_training_settings`` (a sharded EMA), ``model_ema`` (all parameters at once).
    Inherited: networks, schedulers, logging, best metrics, ``save``.

    Args:
        opt: BasicSR's options with our keys of ``val``.

    Attributes:
        on_step: Called after each iteration with its number and what it logs; None calls nothing.
        distance: Measured in validation where it is not None.
        left_out: Why images were left out of the last validation, or of all tests.

    Raises:
        TimError: An option is wrong.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        require_gpus(opt["num_gpu"])  # BasicSR's own parser does not look
        self.val_spec = ValSpec.from_options(opt.get("val"))
        self.train_spec = TrainSpec.from_options(opt.get("train"))
        if self.train_spec.fsdp and not opt["dist"]:
            raise TimError(
                "train: fsdp shards the network over processes, and there is one: torchrun --nproc_per_node=N "
                "tools/train.py -opt FILE --launcher pytorch; or use fsdp: false"
            )
        self.metrics = metrics_from_options((opt.get("val") or {}).get("metrics"), self.val_spec.num_samples)
        self.on_step: Callable[[int, Mapping[str, float]], None] | None = None
        self.distance = None
        self.left_out: list[str] = []
        super().__init__(opt)

    def feed_data(self, data: Mapping[str, Any]) -> None:
        """Take a batch with BasicSR's keys, and maybe ``given`` and ``weight`` (see DegradedImageDataset)."""
        super().feed_data(data)
        self.extra = move({key: data[key] for key in ("given", "weight") if key in data}, self.device)

    def model_to_device(self, net: nn.Module) -> nn.Module:
        """Move a network to the device as ``train`` says; under a launcher wrap it, also on CPUs, as BasicSR cannot."""
        net = net.to(self.device)
        if self.is_train and self.train_spec.checkpoint_levels:
            checkpoint_levels(net)
        if self.is_train and self.train_spec.compile:
            compile_levels(net, self.device)
        if not self.opt["dist"]:
            return net
        if self.train_spec.fsdp:
            distributed.shard(net)
            return net
        return distributed.replicate(net, self.device, self.opt.get("find_unused_parameters", False))

    def init_training_settings(self) -> None:
        """Do as SRModel does, then shard the EMA as the network is; before, it has to be whole to get its weights."""
        super().init_training_settings()
        if self.train_spec.fsdp and self.ema_decay > 0:
            distributed.shard(self.net_g_ema)

    def setup_schedulers(self) -> None:
        """Set up the schedulers, and what takes the optimizer's steps."""
        super().setup_schedulers()
        self.step = OptimizerStep(self.train_spec, self.net_g, self.optimizer_g, self.device)

    def get_optimizer(self, optim_type: str, params: Iterable[Any], lr: float, **kwargs: Any) -> torch.optim.Optimizer:
        """Build the optimizer as BasicSR does.

        Raises:
            TimError: Its options do not go together, or not with the device.
        """
        if "betas" in kwargs:
            kwargs["betas"] = tuple(float(beta) for beta in kwargs["betas"])  # torch refuses [0, 0.99]
        try:
            return self.build_optimizer(optim_type, params, lr, **kwargs)
        except (RuntimeError, ValueError, TypeError) as error:
            raise TimError(f"train: optim_g: {error}") from error

    def build_optimizer(
        self, optim_type: str, params: Iterable[Any], lr: float, **kwargs: Any
    ) -> torch.optim.Optimizer:
        """Build one of the optimizers that the model knows."""
        return super().get_optimizer(optim_type, params, lr, **kwargs)

    def update_learning_rate(self, current_iter: int, warmup_iter: int = -1) -> None:
        """Set the rate as BasicSR does, and all of it from the end of the warm-up on.

        BasicSR's warm-up ends one step short, and a schedule that multiplies the last rate never makes up for that.
        """
        super().update_learning_rate(current_iter, warmup_iter)
        if current_iter == warmup_iter and isinstance(self.schedulers[0], MultiStepRestartLR):
            self._set_lr(self._get_init_lr())

    @contextmanager
    def naming(self, current_iter: int) -> Iterator[None]:
        """Name the iteration in an error about NaN or infinity, and say how to go on."""
        try:
            yield
        except NonFiniteError as error:
            raise NonFiniteError(
                f"iteration {current_iter}: {error}. The weights are as they were before this iteration; resume from "
                "the last checkpoint with a lower train: optim_g: lr"
            ) from error

    def take_step(self, current_iter: int, parts: Sequence[Part]) -> None:
        """Take one optimizer step by the sum of the losses, average the weights, and log.

        Args:
            current_iter: For errors and logs.
            parts: Of the batch.

        Raises:
            NonFiniteError: A loss, or the gradient, is NaN or infinite; the weights are as before the step.
            TimError: torch.compile failed, see ``train: compile``; the step does not fit in memory.
        """
        self.optimizer_g.zero_grad()  # first: the old gradients need not lie beside the activations
        with self.naming(current_iter):
            losses = self.step.gradients(parts)
            taken = self.step.apply(current_iter)
        self.log_dict = self.reduce_loss_dict(OrderedDict(losses))
        self.log_dict.update(self.step.logged)
        self.log_dict.update(self.logged())
        if taken and self.ema_decay > 0:
            self.model_ema(decay=self.ema_decay)
        if self.on_step is not None:
            self.on_step(current_iter, self.log_dict)

    def model_ema(self, decay: float = 0.999) -> None:
        """Average the parameters as BasicSR does, all in a few kernels and not one by one."""
        distributed.average_into(self.net_g_ema, self.get_bare_model(self.net_g), decay)

    def own_state(self) -> dict[str, Any]:
        """Return the loss scale of half precision."""
        return {**super().own_state(), "loss_scale": self.step.scaler.state_dict()}

    def load_own_state(self, state: Mapping[str, Any]) -> None:
        """Restore the loss scale."""
        super().load_own_state(state)
        if state.get("loss_scale"):  # empty without one
            self.step.scaler.load_state_dict(state["loss_scale"])

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
            self.samples = sample_image(
                network,
                Observed(self.lq, self.extra.get("given", {})),
                self.val_spec.num_samples,
                self.val_spec.seed,
                0,
                max_samples_per_batch=self.val_spec.max_samples_per_batch,
            )
        self.output = self.samples[:1]

    def dist_validation(self, dataloader: Any, current_iter: int | str, tb_logger: Any, save_img: bool) -> None:
        """Validate with each process sampling its share of the images; all have the metrics of all."""
        self.nondist_validation(dataloader, current_iter, tb_logger, save_img)

    def nondist_validation(self, dataloader: Any, current_iter: int | str, tb_logger: Any, save_img: bool) -> None:
        """Sample each image, save the samples and a contact sheet, and log each metric's mean and best of n.

        Files: ``visualization/IMAGE/IMAGE_ITER_s00.png`` in training, ``visualization/DATASET/IMAGE_s00.png`` in test.
        Images that cannot be read, sampled or measured are left out, which a warning says; not where the network is
        sharded, which has to run in all processes or in none.

        Raises:
            TimError: All had to be left out; or one, and the network is sharded.
        """
        dataset_name = dataloader.dataset.opt["name"]
        rows, problems = self._validated_rows(dataloader, current_iter, save_img)
        if self.opt["dist"]:
            rows, problems = distributed.gather(rows), distributed.gather(problems)
        tell_left_out(dataset_name, problems, len(rows))
        self.left_out = problems if self.is_train else self.left_out + problems
        consistency = degradation_of(self._network_for_test(), dataloader.dataset).measured
        better = {name: metric.better for name, metric in self.metrics.items()} | {"distance": "lower"}
        better |= {name: measure.better for name, measure in consistency.items()}
        self.metric_results = summarise(rows, better, set(consistency))
        if self.is_train:
            self._update_best(dataset_name, current_iter, better)
        if self.metric_results and self.opt["rank"] == 0:
            self._log_validation_metric_values(current_iter, dataset_name, tb_logger)

    def _validated_rows(self, dataloader: Any, current_iter: int | str, save_img: bool) -> tuple[list[Row], list[str]]:
        """Sample, measure and save this process's share of the images; say why some are left out."""
        dataset_name, is_sharded, problems = dataloader.dataset.opt["name"], self.train_spec.fsdp, list[str]()
        loader, indices, own = dataloader, None, len(dataloader)
        if self.opt["dist"]:
            loader, indices, own = distributed.own_share(
                dataloader, self.opt["rank"], self.opt["world_size"], is_sharded
            )
        pbar = self.opt["val"].get("pbar", False) and self.opt["rank"] == 0
        bar = tqdm(total=own, unit="image", desc=dataset_name, disable=not pbar)
        to_save = iter(range(own if save_img else 0))

        def on_image(sampled: SampledImage, row: Row) -> None:
            if next(to_save, None) is not None:
                save_samples(
                    sampled,
                    *self._place(sampled.name, dataset_name, current_iter),
                    with_contact_sheet=self.val_spec.contact_sheet,
                )
            bar.update()

        with self._evaluating() as network:
            measured = partial(
                evaluate,
                network,
                loader,
                self.metrics,
                self.val_spec.num_samples,
                self.val_spec.seed,
                device=self.device,
                distance=self.distance,
                max_samples_per_batch=self.val_spec.max_samples_per_batch,
                callback=on_image,
                indices=indices,
                leave_out=None if is_sharded else problems.append,
            )
            rows = in_memory(measured)
        bar.close()
        if rows is None:
            raise TimError(
                f"data set {dataset_name}: an image does not fit into memory with its samples: use a smaller val: "
                "max_samples_per_batch or num_samples, or smaller images"
            )
        return rows[:own], problems

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
