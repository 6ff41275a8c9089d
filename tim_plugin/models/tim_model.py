"""TIMModel: conditional IMLE in BasicSR's training loop; the search itself is in ``imle``."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from basicsr.utils import get_root_logger
from torch import Tensor

from tim_plugin.imle.latents import Latents
from tim_plugin.imle.pool import Batch, ExamplePool, crop_size, size_of
from tim_plugin.imle.pyramid import Pyramids, moved
from tim_plugin.imle.types import features_of_target
from tim_plugin.losses.energy_score import energy_score
from tim_plugin.models.ahead_search import AheadSearch, Setting
from tim_plugin.models.optimisation import DTYPES, Part, require_finite
from tim_plugin.models.pool_search import Found, PoolSearch
from tim_plugin.models.tower_model import TowerModel
from tim_plugin.options.checks import check_options
from tim_plugin.options.schema import ImleSpec
from tim_plugin.options.values import build_spec
from tim_plugin.utils.seeds import keyed_generator
from tim_plugin.utils.trees import split, tile


class Waiting(NamedTuple):
    """A search ahead: the iteration whose weights it has, and what waits for its result."""

    iteration: int
    result: Callable[[], Found]


class TIMModel(TowerModel):
    """Train a tower by conditional IMLE and validate it with several samples for each image.

    Overridden beyond :class:`TowerModel`: ``optimize_parameters`` (pool, search, loss at every level), ``own_state``
    and ``load_own_state`` (the pool).

    One call of ``feed_data`` and ``optimize_parameters`` is one optimizer step, always; the search and the pool live in
    here, so that BasicSR's loop needs no change.

    Args:
        opt: BasicSR's options with the sections ``network_g``, ``imle`` and ``train: perceptual_opt`` of this package.

    Raises:
        TimError: An option is unknown, of the wrong type, or does not fit another.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        check_options(opt, "TIMModel")
        self.imle = build_spec(ImleSpec, opt.get("imle"))
        super().__init__(opt)

    # training ---------------------------------------------------------------------------------------------------------

    def init_training_settings(self) -> None:
        """Build EMA, distance, optimizer and scheduler as SRModel does, and an empty pool."""
        super().init_training_settings()
        seed, rank, tower = self.opt["manual_seed"], self.opt["rank"], self.get_bare_model(self.net_g)
        self.search = PoolSearch(tower, self.distance, self.imle, seed, rank)
        self.pool = ExamplePool(self.imle.pool_size, self.imle.reuse, self.search.with_features, seed, rank)
        self.selected_distance = float("nan")
        self.search_age = 0  # iterations between the weights that the pool was searched with and its first use
        self.waiting: Waiting | None = None
        self.threads = torch.get_num_threads()
        if self.imle.search_ahead:
            self.ahead = AheadSearch(self._ahead_setting())

    def _ahead_setting(self) -> Setting:
        device = self.device
        if device.type == "cuda":  # BasicSR's has no number, and in a new process that is the first
            device = torch.device("cuda", torch.cuda.current_device())
        return Setting(
            network=self.opt["network_g"],
            distance=copy.deepcopy(self.distance).cpu(),
            imle=self.imle,
            seed=self.opt["manual_seed"],
            rank=self.opt["rank"],
            device=device,
            dtype=DTYPES[self.train_spec.amp],
            threads=max(self.threads // 2, 1),
        )

    def optimize_parameters(self, current_iter: int) -> None:
        """Take one optimizer step on examples of the pool, searching first if the pool is used up.

        Raises:
            NonFiniteError: A loss or gradient is NaN or infinite; the weights are as before the step.
        """
        self.pool.offer({"lq": self.lq, "gt": self.gt, **self.extra})
        if self.imle.search_ahead:
            self._search_ahead(current_iter)
        self.optimizer_g.zero_grad()  # the old gradients need not lie beside what a search needs
        with self.naming(current_iter):
            examples = self.pool.next_batch(len(self.lq), partial(self._search, current_iter))
        self._share_threads()
        latents = self._jittered(examples.latents, current_iter)
        total = latents.batch_size
        of_step = [latents]
        if self.imle.energy_score:
            of_step += self.fresh_latents(examples.pyramids.conditions, total, current_iter)
        parts = split((examples.pyramids, of_step), -(-total // self.train_spec.accumulate), total)
        offset = self._offset(current_iter)
        parts = [Part(part[0].batch_size / total, partial(self._losses, one, part, offset)) for one, part in parts]
        self.take_step(current_iter, parts)

    def logged(self) -> dict[str, float]:
        """Return the distance of the candidates selected last, and how old the weights were if searched for ahead."""
        age = {"search_age": float(self.search_age)} if self.imle.search_ahead else {}
        return {"d_selected": self.selected_distance, **age}

    def _losses(
        self, pyramids: Pyramids, latents: Sequence[Latents], offset: tuple[int, int] | None = None
    ) -> dict[str, Tensor]:
        """Return each supervised level's distance to its target (paper, section 4.1), by name, and its energy score.

        Args:
            pyramids: Conditions and targets of N examples.
            latents: Those that were chosen for the N examples, and others, if the energy score is wanted.
            offset: By how many pixels images and targets are moved first.

        Raises:
            NonFiniteError: One is NaN or infinite.
        """
        count, several = latents[0].batch_size, len(latents)
        conditions, of_all = pyramids.conditions, latents[0]
        if several > 1:  # in one pass, since processes average their gradients after each
            conditions, of_all = tile(conditions, several), Latents.concatenate(latents)
        with self.step.autocast():
            images = self.net_g(conditions, of_all)
        losses = {}
        for level in self.search.supervised():
            image, target = images[level], pyramids.targets[level]
            if offset is not None:
                image, target = moved(image, offset, self.imle.shift_px), moved(target, offset, self.imle.shift_px)
            with torch.no_grad():
                target_features = features_of_target(self.distance, target)
            found = self.distance.features(image)
            chosen, *others = split(found, count, several * count) if several > 1 else [found]
            distances = self.distance.distance(chosen, target_features)  # (N,)
            losses[f"l_level{level + 1}"] = self.loss_weight * distances.mean()
            if others:
                scores = energy_score(self.distance, others, target_features)
                losses[f"l_energy_level{level + 1}"] = self.loss_weight * self.imle.energy_score * scores.mean()
        for name, loss in losses.items():
            require_finite(f"the loss {name}", loss)
        return losses

    def _jittered(self, latents: Latents, current_iter: int) -> Latents:
        if self.imle.jitter == 0:
            return latents
        key = ("jitter", self.opt["manual_seed"], self.opt["rank"], current_iter)
        return latents.jittered(self.imle.jitter, keyed_generator(*key))

    def _offset(self, current_iter: int) -> tuple[int, int] | None:
        if self.imle.shift_px == 0:
            return None
        generator = keyed_generator("shift", self.opt["manual_seed"], self.opt["rank"], current_iter)
        return tuple(torch.randint(self.imle.shift_px + 1, (2,), generator=generator).tolist())

    def _search(self, current_iter: int, batch: Batch, pyramids: Pyramids) -> Latents:
        """Select the latents of a pool's examples, or take those that were searched for ahead."""
        started, waiting, self.waiting = time.perf_counter(), self.waiting, None
        if waiting is None:
            with self.step.autocast():  # the latents are to be those of the network that is trained
                found, self.search_age = self.search(pyramids, current_iter), 0
            how = f"in {time.perf_counter() - started:.1f} s"
        else:
            found, self.search_age = waiting.result(), current_iter - waiting.iteration
            waited = time.perf_counter() - started
            how = f"with the weights of {self.search_age} iterations before (waited {waited:.1f} s)"
        self.selected_distance = found.distance
        if self.imle.reuse > 1:
            get_root_logger().info(
                f"Searched {size_of(batch)} examples {how}; "
                f"mean distance of the selected candidates {self.selected_distance:.4f}"
            )
        return found.latents.to(self.device)

    def _search_ahead(self, current_iter: int) -> None:
        """Let the other process begin as soon as the next pool is full."""
        batch = self.pool.next_pool() if self.waiting is None else None
        if batch is not None:
            weights = self.get_bare_model(self.net_g).state_dict()
            self.waiting = Waiting(current_iter, self.ahead.start(weights, batch, current_iter))

    def _share_threads(self) -> None:
        """While the other process searches, half of a CPU's threads are its own."""
        if self.imle.search_ahead and self.device.type == "cpu":
            others = 0 if self.waiting is None else self.threads // 2
            torch.set_num_threads(max(self.threads - others, 1))

    def own_state(self) -> dict[str, Any]:
        """Return the pool of this process with its latents; waits for those that are searched for ahead."""
        own = {
            "pool": self.pool.state_dict(),
            "selected_distance": self.selected_distance,
            "search_age": self.search_age,
        }
        if self.waiting is not None:
            found = self.waiting.result()
            self.waiting = self.waiting._replace(result=lambda: found)
            own["ahead"] = [self.waiting.iteration, found.latents.state_dict(), found.distance]
        return {**super().own_state(), **own}

    def load_own_state(self, state: Mapping[str, Any]) -> None:
        """Restore the pool of this process, unless its crops have another size than those that will come."""
        super().load_own_state(state)
        size, before = self.opt["datasets"]["train"].get("gt_size"), crop_size(state.get("pool", {}))
        if None not in (size, before) and before != (tuple(size) if isinstance(size, (list, tuple)) else (size, size)):
            get_root_logger().info("Another gt_size than before: it begins with an empty pool.")
            return
        if "pool" in state:
            self.pool.load_state_dict(state["pool"], self.device)
            self.selected_distance = state["selected_distance"]
            self.search_age = state.get("search_age", 0)
        if "ahead" in state:
            iteration, latents, distance = state["ahead"]
            found = Found(Latents.from_state_dict(latents), distance)
            if found.latents.batch_size == self.pool.capacity:  # or else pool_size was changed: it searches anew
                self.waiting = Waiting(iteration, lambda: found)
