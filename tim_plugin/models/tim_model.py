"""TIMModel: conditional IMLE in BasicSR's training loop; the work itself is in ``imle`` and ``evaluation``."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial
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
from tim_plugin.data.pyramid import condition_pyramid, target_pyramid
from tim_plugin.degradation_checks import check_degradations
from tim_plugin.degradations.base import Observed
from tim_plugin.errors import NonFiniteError, TimError
from tim_plugin.evaluation import Answers, Row, answer, evaluate, summarise
from tim_plugin.imle.conditions import Condition
from tim_plugin.imle.distance import Weighted
from tim_plugin.imle.latents import Latents
from tim_plugin.imle.pool import Batch, ExamplePool, size_of
from tim_plugin.imle.selection import SEARCHES
from tim_plugin.imle.trees import move, split
from tim_plugin.metrics.image_metrics import metrics_from_options
from tim_plugin.option_checks import check_options
from tim_plugin.options import ImleSpec, ValSpec, build_spec
from tim_plugin.outputs import save_answers
from tim_plugin.seeds import keyed_generator


class TIMModel(SRModel):
    """Train a tower by conditional IMLE and validate it with several samples for each image.

    Overridden: ``feed_data`` (what projection and loss need beyond LQ and GT), ``setup_optimizers`` (the mapping
    network's learning rate), ``optimize_parameters`` (pool, search, loss at every level), ``test`` and
    ``nondist_validation`` (several samples), ``model_to_device`` (CPU processes), ``save_network``, ``load_network``,
    ``save_training_state`` and ``resume_training`` (whole files, the pool).
    Inherited: networks, EMA, schedulers, warm-up, logging, best metrics, ``save``, ``dist_validation``.

    One call of ``feed_data`` and ``optimize_parameters`` is one optimizer step, always; the search and the pool live in
    here, so that BasicSR's loop needs no change.

    Args:
        opt: BasicSR's options with the sections ``network_g``, ``imle`` and ``train: perceptual_opt`` of this package.

    Raises:
        TimError: An option is unknown, of the wrong type, or does not fit another.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        check_options(opt)
        check_degradations(opt)
        self.imle = build_spec(ImleSpec, "imle", opt.get("imle"))
        self.val_spec = ValSpec.from_options(opt.get("val"))
        self.metrics = metrics_from_options((opt.get("val") or {}).get("metrics"), self.val_spec.num_samples)
        self.on_step: Callable[[int, Mapping[str, float]], None] | None = None
        self.distance = None
        super().__init__(opt)

    # training ---------------------------------------------------------------------------------------------------------

    def init_training_settings(self) -> None:
        """Build EMA, distance, optimizer and scheduler as SRModel does, and an empty pool."""
        super().init_training_settings()
        if not hasattr(self.cri_perceptual, "distance"):
            raise TimError(
                f"train: perceptual_opt: type {type(self.cri_perceptual).__name__} has no distance to search with: use "
                "PerceptualDistanceLoss or PixelDistanceLoss"
            )
        self.distance = self.cri_perceptual.distance
        self.loss_weight = self.cri_perceptual.loss_weight
        self.pool = ExamplePool(self.imle.pool_size, self.imle.reuse, self.opt["manual_seed"], self.opt["rank"])
        self.selected_distance = float("nan")

    def setup_optimizers(self) -> None:
        """Adam with two groups: the mapping networks learn at ``mapping_lr_mult`` (default 0.01) of the rate."""
        options = dict(self.opt["train"]["optim_g"])
        optimizer, multiplier = options.pop("type"), options.pop("mapping_lr_mult", 0.01)
        named = list(self.get_bare_model(self.net_g).named_parameters())
        groups = [
            {"params": [p for name, p in named if ".mapping." not in name]},
            {"params": [p for name, p in named if ".mapping." in name], "lr": options["lr"] * multiplier},
        ]
        self.optimizer_g = self.get_optimizer(optimizer, [group for group in groups if group["params"]], **options)
        self.optimizers.append(self.optimizer_g)

    def feed_data(self, data: Mapping[str, Any]) -> None:
        """Take a batch with BasicSR's keys, and maybe ``given`` and ``weight`` (see DegradedImageDataset)."""
        super().feed_data(data)
        self.extra = move({key: data[key] for key in ("given", "weight") if key in data}, self.device)

    def optimize_parameters(self, current_iter: int) -> None:
        """Take one optimizer step on examples of the pool, searching first if the pool is used up.

        Raises:
            NonFiniteError: A loss or gradient is NaN or infinite; the weights are as before the step.
        """
        self.pool.offer({"lq": self.lq, "gt": self.gt, **self.extra})
        try:
            examples = self.pool.next_batch(len(self.lq), partial(self._search, current_iter))
            self.optimizer_g.zero_grad()
            losses = self._level_losses(examples.batch, examples.latents)
            for name, loss in losses.items():
                _require_finite(f"the loss {name}", loss)
            total = torch.stack(tuple(losses.values())).sum()
            total.backward()
            _require_finite(
                "the gradient", nn.utils.get_total_norm([p.grad for p in self.net_g.parameters() if p.grad is not None])
            )
        except NonFiniteError as error:
            raise NonFiniteError(
                f"iteration {current_iter}: {error}. The weights are as they were before this iteration; resume from "
                "the last checkpoint with a lower train: optim_g: lr"
            ) from error
        self.optimizer_g.step()
        self.log_dict = self.reduce_loss_dict(OrderedDict(l_total=total, **losses))
        self.log_dict["d_selected"] = self.selected_distance
        if self.ema_decay > 0:
            self.model_ema(decay=self.ema_decay)
        if self.on_step is not None:
            self.on_step(current_iter, self.log_dict)

    def _supervised(self) -> range:
        """Levels that the loss sees: all, or without intermediate supervision the last."""
        levels = self.get_bare_model(self.net_g).spec.num_levels
        return range(levels) if self.imle.intermediate_supervision else range(levels - 1, levels)

    def _pyramids(self, batch: Batch) -> tuple[list[Condition], list[Tensor | Weighted]]:
        tower = self.get_bare_model(self.net_g)
        observed = Observed(batch["lq"], batch.get("given", {}))
        conditions = condition_pyramid(observed, tower.spec, tower.degradation)
        return conditions, target_pyramid(batch["gt"], tower.spec.num_levels, batch.get("weight"))

    def _level_losses(self, batch: Batch, latents: Latents) -> dict[str, Tensor]:
        """Distance of each supervised level to its target (paper, section 4.1), by level name."""
        conditions, targets = self._pyramids(batch)
        images = self.net_g(conditions, latents)
        losses = {}
        for level in self._supervised():
            with torch.no_grad():
                target_features = self.distance.features(targets[level])
            distances = self.distance.distance(self.distance.features(images[level]), target_features)  # (N,)
            losses[f"l_level{level + 1}"] = self.loss_weight * distances.mean()
        return losses

    def _search(self, current_iter: int, batch: Batch) -> Latents:
        """Select the codes of a pool's examples; candidates depend on (seed, rank, iteration) alone."""
        tower, started = self.get_bare_model(self.net_g), time.perf_counter()
        generator = keyed_generator(
            "search", self.opt["manual_seed"], self.opt["rank"], current_iter, device=batch["lq"].device
        )
        search = SEARCHES[self.imle.sampling]
        if self.imle.sampling == "vanilla":
            search = partial(search, supervised_levels=self._supervised())
        found = [
            search(
                tower,
                self.distance,
                *self._pyramids(part),
                self.imle.samples(tower.spec.num_levels),
                generator,
                self.imle.max_candidates_per_batch,
            )
            for part in split(batch, self.imle.search_batch, size_of(batch))
        ]
        distances = torch.cat([part.distances for part in found])[:, list(self._supervised())]
        self.selected_distance = float(distances.sum(dim=1).mean())
        if self.imle.reuse > 1:
            get_root_logger().info(
                f"Searched {size_of(batch)} examples in {time.perf_counter() - started:.1f} s; "
                f"mean distance of the selected candidates {self.selected_distance:.4f}"
            )
        return Latents.concatenate([part.latents for part in found])

    # validation and test ----------------------------------------------------------------------------------------------

    def _tower_for_test(self) -> nn.Module:
        return self.net_g_ema if hasattr(self, "net_g_ema") else self.get_bare_model(self.net_g)

    def test(self) -> None:
        """Sample the image that was fed: ``self.samples`` (n, C, H, W), and the first one as ``self.output``."""
        self.samples = answer(
            self._tower_for_test(),
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

        rows = evaluate(
            self._tower_for_test(),
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
        agreement = self._tower_for_test().degradation.measured
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
        state = checkpoints.parameters_of(checkpoint, load_path, param_key)
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
        """Write optimizers, schedulers and the pool, whole or not at all; nothing for the final save (-1)."""
        if current_iter == -1:
            return
        state = {
            "epoch": epoch,
            "iter": current_iter,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "schedulers": [scheduler.state_dict() for scheduler in self.schedulers],
            "pool": self.pool.state_dict(),
            "selected_distance": self.selected_distance,
        }
        checkpoints.save_atomically(state, Path(self.opt["path"]["training_states"]) / f"{current_iter}.state")

    def resume_training(self, resume_state: dict[str, Any]) -> None:
        """Restore optimizers, schedulers and (on the rank that saved it) the pool; other ranks search anew."""
        super().resume_training(resume_state)
        if self.opt["rank"] == 0 and "pool" in resume_state:
            self.pool.load_state_dict(resume_state["pool"], self.device)
            self.selected_distance = resume_state["selected_distance"]


def _require_finite(what: str, value: Tensor) -> None:
    if not torch.isfinite(value).all():
        raise NonFiniteError(f"{what} is {float(value)}")


def _section(degradation: Any) -> Mapping[str, Any]:
    return degradation if isinstance(degradation, Mapping) else {}


def _plain(options: Any) -> Any:
    """Options as plain dicts and lists, which ``weights_only`` loads."""
    if isinstance(options, Mapping):
        return {key: _plain(value) for key, value in options.items()}
    return [_plain(value) for value in options] if isinstance(options, (list, tuple)) else options
