"""What models share that train a tower on a distance: that, the mapping networks' rate, latents of a step's samples."""

from __future__ import annotations

from collections.abc import Sequence

from tim_plugin.imle.latents import Latents
from tim_plugin.imle.types import Condition, coarsest
from tim_plugin.models.sampling_model import SamplingModel
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.seeds import keyed_generator

SAMPLES = 2  # of each target, for the energy score: the fewest that are pushed apart


class TowerModel(SamplingModel):
    """Overridden beyond :class:`SamplingModel`: ``init_training_settings`` (the distance), ``setup_optimizers``."""

    def init_training_settings(self) -> None:
        """Build EMA, distance, optimizer and scheduler as SRModel does.

        Raises:
            TimError: ``perceptual_opt`` is a loss that is no distance.
        """
        super().init_training_settings()
        if not hasattr(self.cri_perceptual, "distance"):
            raise TimError(
                f"train: perceptual_opt: type {type(self.cri_perceptual).__name__} has no distance to search with: use "
                "PerceptualDistanceLoss or PixelDistanceLoss"
            )
        self.distance = self.cri_perceptual.distance
        self.loss_weight = self.cri_perceptual.loss_weight

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

    def fresh_latents(self, conditions: Sequence[Condition], count: int, current_iter: int) -> list[Latents]:
        """Draw the latents of the samples that a step's energy score is of; they depend on seed, rank and step alone.

        Args:
            conditions: Of N examples, one a level.
            count: N.
            current_iter: The step.

        Returns:
            :data:`SAMPLES` times the latents of N examples.
        """
        shapes = self.get_bare_model(self.net_g).latent_shapes(*coarsest(conditions).shape[-2:])
        key = ("energy", self.opt["manual_seed"], self.opt["rank"], current_iter)
        generator = keyed_generator(*key, device=self.device)
        return [Latents.draw(shapes, count, generator) for _ in range(SAMPLES)]
