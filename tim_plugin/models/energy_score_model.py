"""EnergyScoreModel: a tower trained by the energy score of two samples, without a search."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from tim_plugin.imle.latents import Latents
from tim_plugin.imle.pyramid import Pyramids, pyramids_of
from tim_plugin.losses.energy_score import energy_score
from tim_plugin.models.optimisation import Part, require_finite
from tim_plugin.models.tower_model import SAMPLES, TowerModel
from tim_plugin.options.checks import check_options
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.trees import split, tile


class EnergyScoreModel(TowerModel):
    """Train a tower by pulling two samples of each target to it and pushing them apart, at every level.

    Overridden beyond :class:`TowerModel`: ``optimize_parameters``. The latents of a step depend on seed, rank and
    iteration alone.

    Args:
        opt: BasicSR's options with the sections ``network_g`` and ``train: perceptual_opt`` of this package.

    Raises:
        TimError: An option is unknown, of the wrong type, or does not fit another.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        check_options(opt, "EnergyScoreModel")
        super().__init__(opt)
        if not hasattr(self.get_bare_model(self.net_g), "forward_level"):
            raise TimError(f"network_g: type {opt['network_g']['type']} has no levels: EnergyScoreModel needs a tower")

    def optimize_parameters(self, current_iter: int) -> None:
        """Take one optimizer step.

        Raises:
            NonFiniteError: A loss or gradient is NaN or infinite; the weights are as before the step.
        """
        tower, total = self.get_bare_model(self.net_g), len(self.lq)
        pyramids = pyramids_of({"lq": self.lq, "gt": self.gt, **self.extra}, tower)
        latents = self.fresh_latents(pyramids.conditions, total, current_iter)
        parts = split((pyramids, latents), -(-total // self.train_spec.accumulate), total)
        parts = [Part(latents[0].batch_size / total, partial(self._losses, one, latents)) for one, latents in parts]
        self.take_step(current_iter, parts)

    def _losses(self, pyramids: Pyramids, latents: list[Latents]) -> dict[str, Tensor]:
        """Return each level's energy score, by name.

        Raises:
            NonFiniteError: One is NaN or infinite.
        """
        with self.step.autocast():
            images = self.net_g(tile(pyramids.conditions, SAMPLES), Latents.concatenate(latents))
        count, losses = latents[0].batch_size, {}
        for level, (image, target) in enumerate(zip(images, pyramids.targets, strict=True)):
            with torch.no_grad():
                target_features = self.distance.features(target)
            found = self.distance.features(image)
            samples = split(found, count, SAMPLES * count)
            loss = self.loss_weight * energy_score(self.distance, samples, target_features).mean()
            require_finite(f"the loss l_level{level + 1}", loss)
            losses[f"l_level{level + 1}"] = loss
        return losses
