"""Checkpoints and training states of our models, in one layout for one process or several."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger
from torch import nn

from tim_plugin.models import distributed
from tim_plugin.models.resumed_options import ResumedOptions
from tim_plugin.utils import checkpoints
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.training_states import name_of_rank


class StoredModel(SRModel):
    """BasicSR's SRModel with safer files: written to a temporary file first, so that none is ever half written.

    A checkpoint holds the network's own arguments too, and loading one that does not fit names the first parameters
    that differ. Sharded parameters (``train: fsdp``) are gathered before they are written, so that a run can be resumed
    with any number of processes.

    Overridden: ``save_network``, ``load_network``, ``save_training_state`` and ``resume_training``. A subclass sets
    ``train_spec`` (see :class:`tim_plugin.options.schema.TrainSpec`) before it calls this class's constructor.
    """

    def load_network(
        self, net: nn.Module, load_path: str, strict: bool = True, param_key: str | None = "params"
    ) -> None:
        """Load weights of any layout (flat, ``params``, ``params_ema``).

        Args:
            net: Loaded into, in place; maybe wrapped or sharded.
            load_path: The checkpoint.
            strict: Refuse what does not fit; else what fits is loaded, and the log names the rest.
            param_key: Of the layout.

        Raises:
            TimError: The file is missing, damaged or does not fit; the first differing keys are named. Or what it says
                of its own network is another one.
        """
        checkpoint = checkpoints.read_checkpoint(load_path)
        state = checkpoints.parameters_of(checkpoint, load_path, param_key, self.get_bare_model(net))
        bare = self.get_bare_model(net)
        if strict:
            for line in checkpoints.require_same_network(bare, checkpoint, load_path):
                get_root_logger().warning(line)
        own = bare.state_dict()
        state = {name: distributed.sharded_like(own.get(name), value) for name, value in state.items()}
        for line in checkpoints.load_into(bare, state, load_path, strict):
            get_root_logger().warning(f"Not loaded from {load_path}: {line}")
        get_root_logger().info(f"Loaded {net.__class__.__name__} from {load_path} [{param_key}].")

    def save_network(
        self, net: nn.Module | list[nn.Module], net_label: str, current_iter: int, param_key: str | list[str] = "params"
    ) -> None:
        """Write a checkpoint in BasicSR's layout, plus the network's own arguments; rank 0 writes, others only gather.

        Args:
            net: One network, or several with the same arguments (such as the network and its EMA).
            net_label: The file is ``NET_LABEL_ITER.pth``.
            current_iter: -1 is written as ``latest``.
            param_key: Of each network's parameters in the file.

        Raises:
            OSError: The file cannot be written.
        """
        if self.opt["rank"] != 0 and not self.train_spec.fsdp:
            return
        nets, keys = ([net], [param_key]) if not isinstance(net, list) else (net, param_key)
        content: dict[str, Any] = {
            key: distributed.full_on_cpu(dict(self.get_bare_model(one).state_dict()))
            for one, key in zip(nets, keys, strict=True)
        }
        if self.opt["rank"] != 0:
            return
        section = net_label.replace("net_", "network_")
        bare = self.get_bare_model(nets[0])
        portable = bare.portable() if hasattr(bare, "portable") else {}
        content[section] = checkpoints.plain({**self.opt[section], **portable})
        name = f"{net_label}_{'latest' if current_iter == -1 else current_iter}.pth"
        checkpoints.save_atomically(content, Path(self.opt["path"]["models"]) / name)

    def save_training_state(self, epoch: int, current_iter: int) -> None:
        """Write ``ITER.state``: optimizers, schedulers and :meth:`own_state`; nothing at the end of training (-1).

        Each process has a pool of its own: those of ranks above 0 write theirs to ``ITER.rankR.state``.
        """
        if current_iter == -1:
            return
        state = {"epoch": epoch, "iter": current_iter, "processes": self.opt.get("world_size", 1), **self.own_state()}
        state["best_metric_results"] = checkpoints.plain(getattr(self, "best_metric_results", {}))
        if self.opt["rank"] == 0 or self.train_spec.fsdp:
            optimizers = [optimizer.state_dict() for optimizer in self.optimizers]
            if self.train_spec.fsdp:
                optimizers = distributed.full_on_cpu(optimizers)
            schedulers = [scheduler.state_dict() for scheduler in self.schedulers]
        folder, name = Path(self.opt["path"]["training_states"]), f"{current_iter}.state"
        if self.opt["rank"] == 0:
            state |= {"optimizers": optimizers, "schedulers": schedulers}
        else:
            name = name_of_rank(name, self.opt["rank"])
        checkpoints.save_atomically(state, folder / name)

    def resume_training(self, resume_state: dict[str, Any]) -> None:
        """Restore optimizers, schedulers, the best figures of validation and :meth:`own_state`.

        Options of the optimizers and schedulers are those of this run, and the log says which of them differ.
        With another number of processes than before, :meth:`own_state` is left out, and each begins with an empty pool.

        Raises:
            TimError: The state is of other optimizers, or the file of this process's own state is missing.
        """
        options = ResumedOptions(self.schedulers)
        try:
            optimizers = [
                distributed.sharded_optimizer_state(optimizer, state)
                for optimizer, state in zip(self.optimizers, resume_state["optimizers"], strict=True)
            ]
            super().resume_training({**resume_state, "optimizers": optimizers})
            changed = options.put_back(int(self.opt["train"].get("warmup_iter") or -1))
        except (AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise TimError(
                f"path: resume_state: {self.opt['path']['resume_state']}: does not fit this run's optimizers or "
                f"schedulers ({error}): use the options that it was written with"
            ) from error
        if changed:
            get_root_logger().info(f"Other options of train than in the state, used from here on: {'; '.join(changed)}")
        if resume_state.get("best_metric_results"):
            self.best_metric_results = resume_state["best_metric_results"]
        if resume_state.get("processes", 1) != self.opt.get("world_size", 1):
            get_root_logger().info("Another number of processes than before: each begins with an empty pool.")
            return
        if self.opt["rank"] == 0:
            self.load_own_state(resume_state)
        else:
            path = Path(self.opt["path"]["resume_state"])
            own = path.with_name(name_of_rank(path.name, self.opt["rank"]))
            self.load_own_state(checkpoints.read_state(own, ("epoch", "iter")))

    def own_state(self) -> dict[str, Any]:
        """Return what this process needs to resume beside BasicSR's states, as CPU tensors and plain values."""
        return {}

    def load_own_state(self, state: Mapping[str, Any]) -> None:
        """Restore :meth:`own_state`."""
